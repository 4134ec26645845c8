"""Bodies onto the image: projection of their faces and bilinear texture mapping, compiled."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from data.simulator.sprites import Face

SLIVER = 0.3  # faces of fewer square pixels are not drawn


class Mesh(NamedTuple):
    """The faces of one body in the form the compiled code reads, from back to front."""

    vectors: npt.NDArray[np.float64]  # [5, F, 4] corner, u, v, cosine, sine
    texels: npt.NDArray[np.float32]  # the textures, one after the other
    layout: npt.NDArray[np.int64]  # [F, 3] first texel, rows, columns, without the border
    two_sided: npt.NDArray[np.bool_]  # [F]
    solid: npt.NDArray[np.bool_]  # [F]


def mesh(faces: tuple[Face, ...]) -> Mesh:
    """Lay out the faces."""
    vectors = [[face.corner, face.u, face.v, face.cosine, face.sine] for face in faces]
    shapes = np.array([face.texture_HWC.shape for face in faces])
    first = np.cumsum([0, *shapes.prod(axis=1)[:-1]])
    return Mesh(
        np.array(vectors, np.float64).transpose(1, 0, 2).copy(),
        np.concatenate([face.texture_HWC.ravel() for face in faces]),
        np.column_stack([first, shapes[:, :2] - 2]),
        np.array([face.two_sided for face in faces]),
        np.array([face.solid for face in faces]),
    )


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def project(mesh, camera_24, x, y, phase, solid_only):  # type: ignore[no-untyped-def]
    """Faces as seen: [F, 7] pixels x, y of the corner, of u and of v, and whether to draw.

    `camera_24` takes a body's vectors to pixels, (x, y) is the ground point it stands on, `phase` its swing in
    radians. Of a body's sides only those that look at the camera are drawn.
    """
    vectors = mesh.vectors
    count = vectors.shape[1]
    seen = np.zeros((count, 7))
    for face in range(count):
        for axis in range(2):
            corner = u = v = 0.0
            for k in range(4):
                swing = np.cos(phase) * vectors[3, face, k] + np.sin(phase) * vectors[4, face, k]
                corner += camera_24[axis, k] * vectors[0, face, k]
                u += camera_24[axis, k] * vectors[1, face, k]
                v += camera_24[axis, k] * (vectors[2, face, k] + swing)
            seen[face, axis] = corner + (y if axis else x)
            seen[face, 2 + axis] = u
            seen[face, 4 + axis] = v
        area = seen[face, 2] * seen[face, 5] - seen[face, 3] * seen[face, 4]
        if mesh.two_sided[face]:
            area = abs(area)
        if area > SLIVER and (mesh.solid[face] or not solid_only):
            seen[face, 6] = 1.0
    return seen


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def paint(frame_HW, light_HW, mesh, seen, silhouette):  # type: ignore[no-untyped-def]
    """Lay the projected faces over the frame; a `silhouette` paints how much of a pixel they cover instead.

    Not cv2.warpAffine: it rounds positions to 1/32 pixel, and an event camera sees such steps.
    """
    for face in range(len(seen)):
        if seen[face, 6] > 0:
            first, rows, columns = mesh.layout[face]
            texture_HWC = mesh.texels[first : first + (rows + 2) * (columns + 2) * 3]
            texture_HWC = texture_HWC.reshape((rows + 2, columns + 2, 3))
            _paint_face(frame_HW, light_HW, texture_HWC, seen[face], silhouette)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _paint_face(frame_HW, light_HW, texture_HWC, seen, silhouette):  # type: ignore[no-untyped-def]
    x, y, ux, uy, vx, vy = seen[0], seen[1], seen[2], seen[3], seen[4], seen[5]
    area = ux * vy - uy * vx
    height, width = texture_HWC.shape[0] - 2, texture_HWC.shape[1] - 2
    left, right = x + min(0.0, ux) + min(0.0, vx), x + max(0.0, ux) + max(0.0, vx)
    top, bottom = y + min(0.0, uy) + min(0.0, vy), y + max(0.0, uy) + max(0.0, vy)
    i_step, j_step = -uy / area * height, vy / area * width
    for row in range(max(0, int(np.floor(top)) - 1), min(frame_HW.shape[0], int(np.ceil(bottom)) + 1)):
        dx, dy = 0.5 - x, row + 0.5 - y
        i_start = (ux * dy - uy * dx) / area * height + 0.5
        j_start = (dx * vy - dy * vx) / area * width + 0.5
        for column in range(max(0, int(np.floor(left)) - 1), min(frame_HW.shape[1], int(np.ceil(right)) + 1)):
            i, j = i_start + column * i_step, j_start + column * j_step
            if i <= 0 or j <= 0 or i >= height + 1 or j >= width + 1:
                continue
            i0, j0 = int(i), int(j)
            di, dj = np.float32(i - i0), np.float32(j - j0)
            shade, alpha, glow = _sample(texture_HWC, i0, j0, di, dj)
            if silhouette:
                shade, glow = alpha, np.float32(0)
            frame_HW[row, column] = frame_HW[row, column] * (1 - alpha) + light_HW[row, column] * shade + glow


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _sample(texture_HWC, i, j, di, dj):  # type: ignore[no-untyped-def]
    """Bilinear: SHADE, ALPHA and GLOW between four texels."""
    w00, w01, w10, w11 = (1 - di) * (1 - dj), (1 - di) * dj, di * (1 - dj), di * dj
    a, b, c, d = texture_HWC[i, j], texture_HWC[i, j + 1], texture_HWC[i + 1, j], texture_HWC[i + 1, j + 1]
    return (
        w00 * a[0] + w01 * b[0] + w10 * c[0] + w11 * d[0],
        w00 * a[1] + w01 * b[1] + w10 * c[1] + w11 * d[1],
        w00 * a[2] + w01 * b[2] + w10 * c[2] + w11 * d[2],
    )
