"""From descriptions to pictures and their truth, in batches, on CPU or CUDA by the same code.

Each step is in a module of its own: `dressing` builds triangles, `camera` finds the view, `raster` says what is seen,
`surfaces` its colour, `shadows` and `lighting` its light, `backdrops` what is behind, `measuring` the truth.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from instantid.errors import InvalidRequest

from . import backdrops, camera, measuring, raster
from .assets import Assets, load
from .camera import View
from .complexion import Complexions
from .description import Picture
from .dressing import GAMMA, HAIR, SEAT, SKIN, Dressed, Wardrobe
from .lighting import crevices, shade
from .shadows import SIZE, Shadows
from .surfaces import Textures
from .truth import Rendered
from .unpacking import SKELETON
from .visible import FINER, Scene, mix, once_a_surface

HEAD_MIDDLE = (0.0, 0.06, 0.03)
"""From the head's joint, metres."""
SHADE = 0.45
"""How bright the floor is where the first light does not reach."""
AT_ONCE = {"cpu": 4, "cuda": 48}
"""Pictures of 192 × 192 in a batch; larger ones go in smaller batches."""


class Renderer:
    """Holds the assets on one device. Make one and keep it.

    Raises:
        InvalidRequest: the device is neither the processor nor a CUDA GPU that is there.
    """

    def __init__(self, device: str | torch.device = "cpu", *, assets: Assets | None = None) -> None:
        self.device = torch.device(device)
        if self.device.type not in AT_ONCE:
            raise InvalidRequest(f"People are rendered on {' or '.join(AT_ONCE)}; got “{device}”.")
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise InvalidRequest("There is no CUDA GPU here to render people on. Ask for cpu.")
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
        scene = Scene(dressed, table, self.textures, of_figure[dressed.figure[dressed.part]])
        at_vertex = _view_of_vertices(dressed, of_figure)
        points = _project(dressed.vertices, at_vertex, views)  # (N, 3) fine pixels and depth
        buffer = raster.clear(len(pictures), fine, self.device)
        scene.draw(buffer, points, fine, spread=True)
        shadows = Shadows(pictures, views, self.device)
        scene.draw(shadows.buffer, shadows.project(dressed.vertices, at_vertex), (SIZE, SIZE), spread=False)
        shadows.finish()
        return self._shade(pictures, views, dressed, of_figure, scene, points, buffer, shadows)

    def _shade(
        self,
        pictures: Sequence[Picture],
        views: Sequence[View],
        dressed: Dressed,
        of_figure: Tensor,
        scene: Scene,
        points: Tensor,
        buffer: Tensor,
        shadows: Shadows,
    ) -> Iterator[Rendered]:
        h, w = pictures[0].height, pictures[0].width
        fine = (h * FINER, w * FINER)
        count = len(pictures)
        chosen, weight_of = once_a_surface(buffer, dressed.part, count, fine)
        triangle = buffer[chosen] & raster.INDEX_MASK
        view, y, x = chosen // (fine[0] * fine[1]), (chosen // fine[1]) % fine[0], chosen % fine[1]
        faces = dressed.faces.index_select(0, triangle)
        seen_at = [points.index_select(0, faces[:, corner]) for corner in range(3)]
        weight = raster.barycentric(*seen_at, x + 0.5, y + 0.5)
        where = mix(dressed.vertices, faces, weight)
        normal = normalize(mix(dressed.normals, faces, weight), dim=1)
        corners = dressed.uv.index_select(0, triangle)
        uv = corners[:, 0] * weight[:, :1] + corners[:, 1] * weight[:, 1:2] + corners[:, 2] * weight[:, 2:]
        part = dressed.part.index_select(0, triangle)
        kind = scene.table.kind[part]
        eyes = torch.stack([each.eye for each in views]).float().to(self.device)
        towards = normalize(eyes[view] - where, dim=1)
        # a card seen from behind is lit on that side; a smooth edge that only leans away is not
        turned = (raster.area(*seen_at) > 0) & (kind != SKIN)
        normal = torch.where(turned[:, None], -normal, normal)
        normal = self._round_hair(dressed, normal, where, part, kind)
        colour = self.textures.colours(scene.table, part, scene.levels(points, triangle, FINER), uv)
        depth = raster.depth(buffer).view(count, *fine)
        skins = Complexions(
            [figure.identity for each in pictures for figure in each.figures], self.assets, self.device
        )
        bare = torch.nonzero(kind == SKIN).squeeze(1)
        mask = mix(dressed.masks, faces.index_select(0, bare), weight.index_select(0, bare))
        colour[bare] = skins.apply(colour[bare], dressed.figure[part[bare]], uv[bare], mask)
        depth = depth.view(count, h, FINER, w, FINER).amin((2, 4))
        open_sky = crevices(depth, views)[view, y // FINER, x // FINER]
        # hair lies in layers that would throw hard shadows on each other
        lift = torch.where(kind == HAIR, 0.025, 0.002)[:, None]
        light = shade(
            pictures=pictures, views=views, at=view, kind=kind, colour=colour, normal=normal, towards=towards,
            lit=shadows.lit(where + normal * lift, view), open_sky=open_sky,
        )  # fmt: skip
        pixel = (view * h + y // FINER) * w + x // FINER
        layer = torch.zeros(count * h * w, 4, device=self.device)
        light = torch.cat([_develop(light), torch.ones_like(light[:, :1])], 1) * weight_of[1][:, None]
        for turn in range(FINER * FINER):  # at most so many surfaces in a pixel; added in one order
            rows = torch.nonzero(weight_of[0] == turn).squeeze(1)
            layer[pixel[rows]] += light[rows]
        layer = layer.view(count, h, w, 4)
        behind = torch.stack(
            [self._behind(*each, shadows) for each in zip(range(count), pictures, views, strict=True)]
        )
        image = layer[..., :3] + _develop(behind) * (1 - layer[..., 3:])
        images = (image * 255).round().to(torch.uint8).cpu().numpy()
        people = torch.zeros(count * fine[0] * fine[1], dtype=torch.uint8, device=self.device)
        first = torch.searchsorted(of_figure, torch.arange(count, device=self.device))
        samples, triangles = raster.seen(buffer)
        part = dressed.part[triangles]
        numbers = dressed.figure[part]
        place = numbers - first[of_figure[numbers]] + 1
        people[samples] = torch.where(scene.table.kind[part] == SEAT, 0, place).to(torch.uint8)
        truths = self.landmarks.measure(
            pictures=pictures, views=views, dressed=dressed, of_figure=of_figure.tolist(),
            people=people.view(count, *fine)[:, ::FINER, ::FINER], depth=depth,
        )  # fmt: skip
        for image, truth in zip(images, truths, strict=True):
            yield Rendered(image=image, truth=truth)

    def _round_hair(
        self, dressed: Dressed, normal: Tensor, where: Tensor, part: Tensor, kind: Tensor
    ) -> Tensor:
        """Light hair like the ball it lies on: its cards' own normals are a jumble."""
        rows = torch.nonzero(kind == HAIR).squeeze(1)
        head = SKELETON.index("head")
        ahead = torch.tensor(HEAD_MIDDLE, device=self.device)
        middle = torch.stack([posed.places[head] + posed.turns[head] @ ahead for posed in dressed.posed])
        out = normalize(where[rows] - middle[dressed.figure[part[rows]]], dim=1)
        same = torch.where((normal[rows] * out).sum(1, keepdim=True) < 0, -normal[rows], normal[rows])
        normal = normal.clone()
        normal[rows] = normalize(out + 0.8 * same, dim=1)
        return normal

    def _behind(self, number: int, picture: Picture, view: View, shadows: Shadows) -> Tensor:
        """The background (h, w, 3), with the figures' shadow on its floor."""
        image, ground = backdrops.paint(picture, view, self.device)
        if ground is None or not len(ground.pixels):
            return image
        at = torch.full_like(ground.pixels, number)
        lit = shadows.lit(ground.points, at)
        image = image.reshape(-1, 3).clone()
        image[ground.pixels] *= (SHADE + (1 - SHADE) * lit)[:, None]
        return image.view(picture.height, picture.width, 3)


def _develop(light: Tensor) -> Tensor:
    """Linear light to display values 0..1, the brightest parts pressed together. Edges are mixed after this."""
    return (light * 1.06 / (1 + 0.12 * light)).clamp(0, 1) ** (1 / GAMMA)


def _view_of_vertices(dressed: Dressed, of_figure: Tensor) -> Tensor:
    starts = torch.tensor(dressed.body_start, device=of_figure.device)
    at = torch.arange(len(dressed.vertices), device=of_figure.device)
    return of_figure[torch.searchsorted(starts, at, right=True) - 1]


def _project(points: Tensor, view: Tensor, views: Sequence[View]) -> Tensor:
    """Pixels of the finer picture and depth, (n, 3)."""
    turn = torch.stack([each.turn for each in views]).float().to(points.device).index_select(0, view)
    eye = torch.stack([each.eye for each in views]).float().to(points.device).index_select(0, view)
    x, y, z = (points - eye)[..., None].unbind(1)
    there = turn[..., 0] * x + turn[..., 1] * y + turn[..., 2] * z
    focal = torch.tensor([each.focal for each in views], device=points.device)[view, None]
    centre = torch.tensor([each.centre for each in views], device=points.device).index_select(0, view)
    z = there[:, 2:]
    return torch.cat([(there[:, :2] / z.clamp(min=raster.NEAR / 2) * focal + centre) * FINER, z], 1)


def render(pictures: Sequence[Picture], device: str = "cpu") -> list[Rendered]:
    """Render pictures once; who renders often keeps a `Renderer`, which takes a second to make."""
    return Renderer(device).render(pictures)
