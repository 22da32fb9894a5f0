"""Cosines of gradients, and quadratic programs over them, in float64 on the CPU.

A Gramian is split into cosines C and norms n, and weights are sought as y / n. So no problem depends
on the scales of the losses. A ridge as large as the Gramian's rounding errors makes C positive
definite, so gradients may be linearly dependent.
"""

from __future__ import annotations

import torch
from torch import Tensor


def compute_cosines(gramian_tt: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines_tt of all pairs of gradients, and norms_t; a zero gradient has zero cosines."""
    gramian_tt = gramian_tt.detach().to("cpu", torch.float64)
    norms_t = gramian_tt.diagonal().clamp(min=0).sqrt()
    inverse_t = invert(norms_t)
    return (inverse_t[:, None] * gramian_tt * inverse_t).clamp(-1, 1), norms_t


def eigenvalue_floor(gramian_tt: Tensor) -> float:
    """Return the largest eigenvalue of the cosines that rounding errors alone may cause."""
    return max(4 * len(gramian_tt) * torch.finfo(gramian_tt.dtype).eps, 1e-10)


def regularise_cosines(gramian_tt: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines_tt with the ridge, and norms_t."""
    cosines_tt, norms_t = compute_cosines(gramian_tt)
    return cosines_tt + eigenvalue_floor(gramian_tt) * torch.eye(
        len(norms_t), dtype=torch.float64
    ), norms_t


def invert(values_t: Tensor) -> Tensor:
    """Return 1 / x, and 0 where x is 0."""
    return torch.where(values_t > 0, 1 / values_t, 0.0)


def minimise_nonnegative(matrix_tt: Tensor, linear_nt: Tensor) -> Tensor:
    """Return the x ≥ 0 that minimises xᵀAx/2 + bᵀx, for n vectors b.

    Block principal pivoting guesses which coordinates are positive, and corrects all wrong guesses
    at once: Portugal, Júdice and Vicente, "A Comparison of Block Pivoting and Interior-Point
    Algorithms for Linear Least Squares Problems with Nonnegative Variables", Mathematics of
    Computation 1994. https://doi.org/10.1090/S0025-5718-1994-1250776-4

    :param matrix_tt: A, positive definite with a diagonal of about one.
    :param linear_nt: The vectors b.
    :return: x_nt.
    """
    scale_n1 = linear_nt.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    linear_nt = linear_nt / scale_n1
    positive_nt = linear_nt < 0
    for _ in range(10):
        x_nt, wrong_nt = _solve_for(positive_nt, matrix_tt, linear_nt)
        if not wrong_nt.any():
            return scale_n1 * x_nt
        positive_nt = positive_nt ^ wrong_nt
    # Pivoting is fast, but may cycle if gradients are dependent. An interior point method always
    # converges; one more pivot makes its result exact, if the signs that it finds are right.
    near_nt, slope_nt = _interior_point(matrix_tt, linear_nt)
    x_nt, wrong_nt = _solve_for(near_nt > slope_nt, matrix_tt, linear_nt)
    return scale_n1 * torch.where(wrong_nt.any(1, keepdim=True), near_nt, x_nt)


def _solve_for(positive_nt: Tensor, matrix_tt: Tensor, linear_nt: Tensor) -> tuple[Tensor, Tensor]:
    """Return x with the other coordinates 0, and which guesses about the signs are wrong."""
    block_ntt = torch.where(positive_nt[:, :, None] & positive_nt[:, None], matrix_tt, 0.0)
    system_ntt = block_ntt + torch.diag_embed((~positive_nt).to(linear_nt))
    x_nt = torch.linalg.solve(system_ntt, -linear_nt * positive_nt)
    slope_nt = x_nt @ matrix_tt + linear_nt
    tolerance_n1 = 1e-10 * x_nt.abs().amax(1, keepdim=True).clamp(min=1)
    return x_nt.clamp(min=0), torch.where(positive_nt, x_nt, slope_nt) < -tolerance_n1


def _interior_point(matrix_tt: Tensor, linear_nt: Tensor) -> tuple[Tensor, Tensor]:
    """Return x > 0 and z > 0 with Ax + b = z and x z = 0, up to a residual of 1e-9.

    Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", SIAM Journal on
    Optimization 1992. https://doi.org/10.1137/0802028
    """
    x_nt, z_nt = torch.ones_like(linear_nt), torch.ones_like(linear_nt)
    for _ in range(60):
        residual_nt = x_nt @ matrix_tt + linear_nt - z_nt
        rest_n1 = torch.maximum(residual_nt.abs(), x_nt * z_nt).amax(1, keepdim=True)
        unfinished_n1 = rest_n1 > 1e-9 * x_nt.amax(1, keepdim=True).clamp(min=1)
        if not unfinished_n1.any():
            break
        dx_nt, dz_nt = _direction(matrix_tt, residual_nt, x_nt, z_nt)
        size_n1 = 0.99 * unfinished_n1 * _largest_step(x_nt, dx_nt, z_nt, dz_nt)
        x_nt, z_nt = x_nt + size_n1 * dx_nt, z_nt + size_n1 * dz_nt
    return x_nt, z_nt


def _direction(
    matrix_tt: Tensor, residual_nt: Tensor, x_nt: Tensor, z_nt: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Newton's direction towards x z = 0, with Mehrotra's second-order correction."""
    factor_ntt = torch.linalg.cholesky(matrix_tt + torch.diag_embed(z_nt / x_nt))

    def towards(product_nt: Tensor) -> tuple[Tensor, Tensor]:
        right_nt1 = (product_nt / x_nt - z_nt - residual_nt)[..., None]
        dx_nt = torch.cholesky_solve(right_nt1, factor_ntt)[..., 0]
        return dx_nt, (product_nt - z_nt * dx_nt) / x_nt - z_nt

    dx_nt, dz_nt = towards(torch.zeros_like(x_nt))
    size_n1 = _largest_step(x_nt, dx_nt, z_nt, dz_nt)
    now_n1 = (x_nt * z_nt).mean(1, keepdim=True)
    then_n1 = ((x_nt + size_n1 * dx_nt) * (z_nt + size_n1 * dz_nt)).mean(1, keepdim=True)
    return towards((then_n1 / now_n1) ** 3 * now_n1 - dx_nt * dz_nt)


def _largest_step(x_nt: Tensor, dx_nt: Tensor, z_nt: Tensor, dz_nt: Tensor) -> Tensor:
    """Return the largest share of a step, at most 1, that keeps x and z from becoming negative."""
    speed_nt = torch.maximum(-dx_nt / x_nt, -dz_nt / z_nt)
    return 1 / speed_nt.amax(1, keepdim=True).clamp(min=1)
