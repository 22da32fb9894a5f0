"""Charts as SVG, drawn from plain numbers. Every function is pure."""
