"""Builds a small bundle of seeded, untrained weights in the layout of the published ones.

It stands in for `mini` until trained weights exist, and is what tests run and training starts from: the same classes
and files as SDXL with InstantID, a few megabytes instead of twelve gigabytes. Pictures made with it show nothing, and
say so.
"""

from .adapters import HEAD_WIDTH as HEAD_WIDTH
from .building import LICENCE as LICENCE
from .building import build as build
from .models import ANNOTATOR_PATCH as ANNOTATOR_PATCH
from .models import depth_annotator as depth_annotator
from .models import image_encoder as image_encoder
from .models import map_channels as map_channels
from .models import pose_annotator as pose_annotator
from .sizes import LARGE as LARGE
from .sizes import MINI as MINI
from .sizes import SMALL as SMALL
from .sizes import TINY as TINY
from .sizes import Sizes as Sizes
