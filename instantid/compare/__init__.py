"""X/Y/Z comparisons over any field of a request: what varies, the cells, making them, the labelled picture.

It knows requests and files; what makes a picture of a request is handed in.
"""

from .fields import METHODS as METHODS
from .fields import Variable as Variable
from .fields import find as find
from .fields import offered as offered
from .grid import Axis as Axis
from .grid import Cell as Cell
from .grid import Grid as Grid
from .grid import read_axis as read_axis
