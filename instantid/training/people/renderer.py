"""From descriptions to pictures and their truth, in batches, on CPU or CUDA by the same code.

Each step is in a module of its own: `dressing` builds triangles, `camera` finds the view, `raster` says what is seen,
`surfaces` its colour, `shadows` and `lighting` its light, `backdrops` what is behind, `measuring` the truth.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from . import backdrops, camera, measuring, raster
from .assets import Assets, load
from .camera import View
from .description import Picture
from .dressing import CLOTH, GAMMA, SEE_THROUGH, SKIN, Dressed, Wardrobe
from .lighting import crevices, shade
from .shadows import SIZE, Shadows
from .surfaces import Table, Textures
from .truth import Rendered

FINER = 2
"""How much finer than the picture everything is drawn, each way, for smooth edges."""
NEAR = 0.05
AT_ONCE = {"cpu": 4, "cuda": 48}
"""Pictures of 192 × 192 in a batch; larger ones go in smaller batches."""


class Renderer:
    """Holds the assets on one device. Make one and keep it."""

    def __init__(self, device: str | torch.device = "cpu", *, assets: Assets | None = None) -> None:
        self.device = torch.device(device)
        self.assets = assets or load()
        self.wardrobe = Wardrobe(self.assets, self.device)
        self.textures = Textures(self.assets, self.device)
        self.landmarks = measuring.Landmarks(self.assets, self.device)

    @torch.inference_mode()
    def render(self, pictures: Sequence[Picture]) -> list[Rendered]:
        """Render all pictures; the answer is in their order. Raises InvalidRequest on a name there is not."""
        sizes: dict[tuple[int, int], list[int]] = {}
        for number, picture in enumerate(pictures):
            sizes.setdefault((picture.height, picture.width), []).append(number)
        done: dict[int, Rendered] = {}
        for (h, w), numbers in sizes.items():
            most = max(1, int(AT_ONCE[self.device.type] * 192 * 192 / (h * w)))
            for start in range(0, len(numbers), most):
                some = numbers[start : start + most]
                done |= zip(some, self._batch([pictures[number] for number in some]), strict=True)
        return [done[number] for number in range(len(pictures))]

    def _batch(self, pictures: Sequence[Picture]) -> Iterator[Rendered]:
        h, w = pictures[0].height, pictures[0].width
        figures = [figure for picture in pictures for figure in picture.figures]
        of_figure = [number for number, picture in enumerate(pictures) for _ in picture.figures]
        dressed = self.wardrobe.dress(figures)
        views = []
        for number, picture in enumerate(pictures):
            mine = [at for at, owner in enumerate(of_figure) if owner == number]
            boxes = [self.landmarks.box(picture.camera.frame, dressed, at) for at in mine]
            views.append(camera.place(picture.camera, boxes, w, h))
        return self._draw(pictures, views, dressed, torch.tensor(of_figure, device=self.device))

    def _draw(
        self, pictures: Sequence[Picture], views: Sequence[View], dressed: Dressed, of_figure: Tensor
    ) -> Iterator[Rendered]:
        h, w = pictures[0].height, pictures[0].width
        fine = (h * FINER, w * FINER)
        table = self.textures.table(dressed.materials)
        scene = _Scene(dressed, table, self.textures, of_figure[dressed.figure[dressed.part]])
        at_vertex = _view_of_vertices(dressed, of_figure)
        points = _project(dressed.vertices, at_vertex, views)  # (N, 3) fine pixels and depth
        buffer = raster.clear(len(pictures), fine, self.device)
        scene.draw(buffer, points[:, :2], points[:, 2], fine, cull=True)
        shadows = Shadows(pictures, views, self.device)
        flat, away = shadows.project(dressed.vertices, at_vertex)
        scene.draw(shadows.buffer, flat, away, (SIZE, SIZE), cull=False)
        shadows.finish()
        return self._shade(pictures, views, dressed, of_figure, scene, points, buffer, shadows)

    def _shade(
        self,
        pictures: Sequence[Picture],
        views: Sequence[View],
        dressed: Dressed,
        of_figure: Tensor,
        scene: "_Scene",
        points: Tensor,
        buffer: Tensor,
        shadows: Shadows,
    ) -> Iterator[Rendered]:
        h, w = pictures[0].height, pictures[0].width
        fine = (h * FINER, w * FINER)
        count = len(pictures)
        pixels, triangle = raster.seen(buffer)
        view = pixels // (fine[0] * fine[1])
        y, x = (pixels // fine[1]) % fine[0], pixels % fine[1]
        faces = dressed.faces[triangle]
        corners = points[faces]
        weight = raster.barycentric(corners[..., :2], x + 0.5, y + 0.5)
        weight = weight / corners[..., 2]
        weight = (weight / weight.sum(1, keepdim=True))[..., None]
        where = (dressed.vertices[faces] * weight).sum(1)
        normal = normalize((dressed.normals[faces] * weight).sum(1), dim=1)
        uv = (dressed.uv[triangle] * weight).sum(1)
        part = dressed.part[triangle]
        kind = scene.table.kind[part]
        eyes = torch.stack([each.eye for each in views]).float().to(self.device)
        towards = normalize(eyes[view] - where, dim=1)
        away = ((normal * towards).sum(1, keepdim=True) < 0) & (kind != SKIN)[:, None]
        normal = torch.where(away, -normal, normal)
        colour = self.textures.colours(scene.table, part, scene.levels(points)[triangle], uv)
        depth = raster.depth(buffer).view(count, *fine)
        depth = depth.view(count, h, FINER, w, FINER).amin((2, 4))
        open_sky = crevices(depth, views)[view, y // FINER, x // FINER]
        light = shade(
            pictures=pictures, views=views, at=view, kind=kind, colour=colour, normal=normal, towards=towards,
            lit=shadows.lit(where + normal * 0.002, view), open_sky=open_sky,
        )  # fmt: skip
        layer = torch.zeros(count * fine[0] * fine[1], 4, device=self.device)
        layer[pixels, :3] = light.clamp(0, 1.6)
        layer[pixels, 3] = 1.0
        layer = avg_pool2d(layer.view(count, *fine, 4).permute(0, 3, 1, 2), FINER).permute(0, 2, 3, 1)
        behind = torch.stack([backdrops.paint(picture, self.device) for picture in pictures])
        image = layer[..., :3] + behind * (1 - layer[..., 3:])
        image = (image / (1 + 0.12 * image) * 1.06).clamp(0, 1) ** (1 / GAMMA)
        images = (image * 255).round().to(torch.uint8).cpu().numpy()
        people = torch.zeros(count * fine[0] * fine[1], dtype=torch.uint8, device=self.device)
        first = torch.searchsorted(of_figure, torch.arange(count, device=self.device))
        figure = dressed.figure[part]
        people[pixels] = (figure - first[view] + 1).to(torch.uint8)
        truths = self.landmarks.measure(
            pictures=pictures, views=views, dressed=dressed, of_figure=of_figure.tolist(),
            people=people.view(count, *fine)[:, ::FINER, ::FINER], depth=depth,
        )  # fmt: skip
        for image, truth in zip(images, truths, strict=True):
            yield Rendered(image=image, truth=truth)


class _Scene:
    """Draws a batch's triangles, solid ones first, then those that let light through."""

    def __init__(self, dressed: Dressed, table: Table, textures: Textures, view: Tensor) -> None:
        self.dressed, self.table, self.textures, self.view = dressed, table, textures, view
        kinds = table.kind[dressed.part]
        clear = torch.zeros_like(kinds, dtype=torch.bool)
        for kind in SEE_THROUGH:
            clear |= kinds == kind
        self.kinds = kinds
        self.solid, self.clear = torch.nonzero(~clear).squeeze(1), torch.nonzero(clear).squeeze(1)
        a, b, c = dressed.uv.unbind(1)
        self.uv_area = (
            (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        ).abs()

    def levels(self, points: Tensor) -> Tensor:
        """How often each triangle's texture is halved, (M,)."""
        return self.textures.levels(
            self.table, self.dressed.part, self.uv_area, _area(points[self.dressed.faces]).abs()
        )

    def draw(self, buffer: Tensor, flat: Tensor, depth: Tensor, size: tuple[int, int], *, cull: bool) -> None:
        """Draw all triangles; `flat` (N, 2) pixels, `depth` (N,). `cull` leaves out skin seen from inside."""
        for clear, chosen in ((False, self.solid), (True, self.clear)):
            faces = self.dressed.faces[chosen]
            corners, depths = flat[faces], depth[faces]
            keep = depths.amin(1) > NEAR
            if cull and not clear:
                keep &= (_area(corners) < 0) | (self.kinds[chosen] == CLOTH)
            rows = torch.nonzero(keep).squeeze(1)
            chosen, corners, depths = chosen[rows], corners[rows], depths[rows]
            solid = self._keep(chosen, corners, size[1]) if clear else None
            raster.draw(buffer, corners, depths, self.view[chosen], chosen, size=size, keep=solid)

    def _keep(self, chosen: Tensor, corners: Tensor, w: int) -> raster.Keep:
        part, uv = self.dressed.part[chosen], self.dressed.uv[chosen]
        shrink = self.textures.levels(self.table, part, self.uv_area[chosen], _area(corners).abs())
        # each of a pixel's four samples asks for another alpha, so that alpha becomes coverage
        asked = torch.tensor([0.2, 0.7, 0.9, 0.4], device=uv.device)

        def keep(triangle: Tensor, weight: Tensor, pixel: Tensor) -> Tensor:
            alpha = self.textures.alpha(
                self.table, part[triangle], shrink[triangle], (uv[triangle] * weight[..., None]).sum(1)
            )
            sample = (pixel % w) % 2 + 2 * ((pixel // w) % 2)
            return alpha > asked[sample]

        return keep


def _area(corners: Tensor) -> Tensor:
    a, b, c = corners[..., :2].unbind(1)
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _view_of_vertices(dressed: Dressed, of_figure: Tensor) -> Tensor:
    starts = torch.tensor(dressed.body_start, device=of_figure.device)
    at = torch.arange(len(dressed.vertices), device=of_figure.device)
    return of_figure[torch.searchsorted(starts, at, right=True) - 1]


def _project(points: Tensor, view: Tensor, views: Sequence[View]) -> Tensor:
    """Pixels of the finer picture and depth, (n, 3)."""
    turn = torch.stack([each.turn for each in views]).float().to(points.device)[view]
    eye = torch.stack([each.eye for each in views]).float().to(points.device)[view]
    there = (turn * (points - eye)[:, None]).sum(-1)
    focal = torch.tensor([each.focal for each in views], device=points.device)[view]
    centre = torch.tensor([each.centre for each in views], device=points.device)[view]
    z = there[:, 2:]
    return torch.cat([(there[:, :2] / z.clamp(min=NEAR / 2) * focal[:, None] + centre) * FINER, z], 1)


@lru_cache(maxsize=2)
def _renderer(device: str) -> Renderer:
    return Renderer(device)


def render(pictures: Sequence[Picture], device: str = "cpu") -> list[Rendered]:
    """Render pictures with a renderer that is kept between calls."""
    return _renderer(device).render(pictures)
