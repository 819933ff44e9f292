"""What can be loaded and from where: the parts of a bundle, their licences, and their local paths.

A bundle is `sdxl` (published weights), `mini` (embedded), or a folder that holds `bundle.json`. Knows no torch: it
answers with paths and leaves reading weights to others.
"""

from .bundle import Bundle as Bundle
from .bundle import Defaults as Defaults
from .bundle import FaceModels as FaceModels
from .bundle import PartStatus as PartStatus
from .bundle import StyleBlocks as StyleBlocks
from .bundle import Trained as Trained
from .exporting import export as export
from .exporting import refuse_used_folder as refuse_used_folder
from .face_files import fetch_face_files as fetch_face_files
from .fetching import FACEID_PARTS as FACEID_PARTS
from .fetching import STYLE_PARTS as STYLE_PARTS
from .fetching import essential_parts as essential_parts
from .fetching import fetch as fetch
from .fetching import licence_notice as licence_notice
from .hub_parts import Hub as Hub
from .hub_weights import fetch_weights as fetch_weights
from .hub_weights import find_weights as find_weights
from .opening import MINI_FACES as MINI_FACES
from .opening import default_cache as default_cache
from .opening import face_files_folder as face_files_folder
from .opening import is_built as is_built
from .opening import is_published as is_published
from .opening import mini_folder as mini_folder
from .opening import open_bundle as open_bundle
from .published import BASES as BASES
