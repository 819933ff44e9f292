"""Photo → Face: who it is and where, by insightface or by OpenCV's two small models.

The only home of the face libraries. Knows no diffusion.
"""

from ..face_drawing import draw_keypoints as draw_keypoints
from ..face_drawing import number_faces as number_faces
from .among import average as average
from .among import likeness as likeness
from .finder import ATTEMPTS as ATTEMPTS
from .finder import Attempt as Attempt
from .finder import FaceFinder as FaceFinder
from .finder import find_face as find_face
from .insight import INSIGHTFACE_AGE as INSIGHTFACE_AGE
from .insight import INSIGHTFACE_FILES as INSIGHTFACE_FILES
from .loading import load_finder as load_finder
from .opencv import OPENCV_FILES as OPENCV_FILES
from .opencv import OPENCV_SAME as OPENCV_SAME
from .portrait import take_portrait as take_portrait
