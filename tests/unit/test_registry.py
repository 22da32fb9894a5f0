"""A class registers itself; its constructor is its schema."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt, ValidationError

from polytask.core.registry import Options, Registry, import_siblings


class Shape:
    """What can be drawn."""

    def __init__(self, *, colour: str = "black") -> None:
        self.colour = colour


class Round(Shape):
    """Shapes without corners.

    :param radius: Half of its width,
        in pixels.
    :param filled: Whether it has an inside.
    """

    def __init__(self, *, radius: PositiveInt = 1, filled: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.radius, self.filled = radius, filled


class Circle(Round):
    """Equally far from its centre everywhere.

    Euclid, Elements, book 1, definition 15 (see https://example.org/elements.html).

    :param centre: Where it is drawn, as handed over.
    :param style: How its line is drawn.
    """

    def __init__(
        self, centre: tuple[int, int], /, *, style: Literal["full", "dotted"], filled: bool = True,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(filled=filled, **options)
        self.centre, self.style = centre, style


class Dot(Shape):
    """The smallest one."""

    def __init__(self, *, size: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__(colour="red")
        self.size = size


@pytest.fixture
def shapes() -> Registry[Shape]:
    registry: Registry[Shape] = Registry("shape", Shape)
    registry.register("circle")(Circle)
    registry.register("dot")(Dot)
    return registry


def test_kinds_are_sorted_and_name_their_classes(shapes: Registry[Shape]) -> None:
    assert shapes.kinds() == ["circle", "dot"]
    assert shapes.part("dot") is Dot


def test_registering_returns_the_class_itself() -> None:
    registry: Registry[Shape] = Registry("shape", Shape)
    assert registry.register("dot")(Dot) is Dot


def test_a_name_can_be_taken_only_once(shapes: Registry[Shape]) -> None:
    with pytest.raises(ValueError, match=r"shape: 'dot' is already .*Dot"):
        shapes.register("dot")(Circle)
    assert shapes.part("dot") is Dot


def test_only_subclasses_of_the_base_are_taken(shapes: Registry[Shape]) -> None:
    with pytest.raises(TypeError, match=r"does not extend Shape"):
        shapes.register("number")(int)  # type: ignore[arg-type]
    assert "number" not in shapes.kinds()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("circel", r"no shape called 'circel'. Did you mean 'circle'\? Known: circle, dot."),
        ({"kind": "zzz"}, r"no shape called 'zzz'. Known: circle, dot."),
        ({"radius": 1}, r"no kind of shape is given. Known: circle, dot."),
        (3, r"no kind of shape is given"),
        (None, r"no kind of shape is given"),
        ({"kind": ["dot"]}, r"no kind of shape is given"),
    ],
)
def test_what_names_no_part_is_refused(value: Any, message: str, shapes: Registry[Shape]) -> None:
    with pytest.raises(ValueError, match=message):
        shapes.parse(value)


def test_an_unknown_part_is_a_key_error(shapes: Registry[Shape]) -> None:
    with pytest.raises(KeyError, match="Did you mean 'dot'"):
        shapes.part("dott")


def test_options_are_those_of_the_constructor_then_those_of_its_bases(
    shapes: Registry[Shape],
) -> None:
    fields = shapes.schema("circle").model_fields
    assert [*fields] == ["kind", "style", "filled", "radius", "colour"]
    assert fields["style"].is_required()
    assert fields["filled"].default is True  # its own default, not that of its base
    assert fields["radius"].default == 1
    assert fields["colour"].default == "black"


def test_a_constructor_without_more_options_hides_those_of_its_bases(
    shapes: Registry[Shape],
) -> None:
    assert [*shapes.schema("dot").model_fields] == ["kind", "size"]


def test_descriptions_are_read_off_the_docstrings(shapes: Registry[Shape]) -> None:
    fields = shapes.schema("circle").model_fields
    assert fields["style"].description == "How its line is drawn."
    assert fields["radius"].description == "Half of its width, in pixels."
    assert fields["filled"].description is None  # its base documents that of the base
    assert fields["colour"].description is None


def test_a_part_is_built_from_runtime_objects_and_options(shapes: Registry[Shape]) -> None:
    options = {"kind": "circle", "style": "dotted", "radius": 3, "colour": "blue"}
    built = shapes.build(options, (1, 2))
    assert isinstance(built, Circle)
    assert (built.centre, built.style, built.radius) == ((1, 2), "dotted", 3)
    assert (built.colour, built.filled) == ("blue", True)


def test_a_kind_alone_may_be_written(shapes: Registry[Shape]) -> None:
    assert isinstance(shapes.build("dot"), Dot)
    assert shapes.parse("dot") == shapes.parse({"kind": "dot"})


def test_parsed_options_stay_what_they_are(shapes: Registry[Shape]) -> None:
    options = shapes.parse({"kind": "circle", "style": "full"})
    assert isinstance(options, Options)
    assert shapes.parse(options) == options
    assert shapes.parse(options.model_dump()) == options


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"kind": "circle"}, "style"),
        ({"kind": "circle", "style": "full", "radius": 0}, "radius"),
        ({"kind": "circle", "style": "full", "centre": [0, 0]}, "centre"),
        ({"kind": "dot", "size": -1}, "size"),
        ({"kind": "dot", "colour": "red"}, "colour"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], place: str, shapes: Registry[Shape]
) -> None:
    with pytest.raises(ValidationError) as caught:
        shapes.parse(options)
    [error] = caught.value.errors()
    assert error["loc"] == (place,)


def test_options_cannot_be_changed(shapes: Registry[Shape]) -> None:
    options = shapes.parse("dot")
    with pytest.raises(ValidationError):
        options.kind = "circle"


def test_a_part_is_described_by_its_first_line_and_its_paper(shapes: Registry[Shape]) -> None:
    line, paper = shapes.describe("circle")
    assert line == "Equally far from its centre everywhere."
    assert paper == "https://example.org/elements.html"


def test_the_paper_may_be_that_of_the_module(shapes: Registry[Shape]) -> None:
    module = ModuleType("drawing", "Drawing.\n\nDürer, 1525. https://example.org/duerer.\n")
    part = type("Line", (Shape,), {"__doc__": "Straight.", "__module__": "drawing"})
    sys.modules["drawing"] = module
    try:
        shapes.register("line")(part)
        assert shapes.describe("line") == ("Straight.", "https://example.org/duerer")
    finally:
        del sys.modules["drawing"]


def test_a_part_may_have_no_paper(shapes: Registry[Shape]) -> None:
    assert shapes.describe("dot") == ("The smallest one.", "")


def test_a_new_file_registers_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "drawings"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from polytask.core.registry import Registry, import_siblings\n"
        "class Shape: ...\n"
        "shapes = Registry('shape', Shape)\n"
        "import_siblings(__name__, __path__)\n"
    )
    (package / "square.py").write_text(
        "from drawings import Shape, shapes\n"
        "@shapes.register('square')\n"
        "class Square(Shape):\n"
        "    def __init__(self) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import drawings  # type: ignore[import-not-found]

    assert drawings.shapes.kinds() == ["square"]
    import_siblings("drawings", drawings.__path__)  # once more changes nothing
    assert drawings.shapes.kinds() == ["square"]
