"""X/Y/Z comparisons over any field of a request: what varies, the cells, making them, the labelled picture.

It knows requests and files; what makes a picture of a request is handed in.
"""

from .applying import usable_methods as usable_methods
from .fields import METHODS as METHODS
from .fields import Variable as Variable
from .fields import find as find
from .fields import offered as offered
from .grid import Axis as Axis
from .grid import Cell as Cell
from .grid import Grid as Grid
from .grid import read_axis as read_axis
from .grid_file import go_on as go_on
from .grid_file import pictures as pictures
from .grid_file import read as read
from .grid_file import to_json as to_json
from .grid_file import write as write
from .packing import pack as pack
from .running import Job as Job
from .running import Outcome as Outcome
from .running import Progress as Progress
from .running import missing as missing
from .running import plan as plan
from .running import run as run
from .running import seconds as seconds
from .running import there as there
from .sheet import Look as Look
from .sheet import draw as draw
from .sheet import save as save
