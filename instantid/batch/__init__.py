"""Many pictures in one go: people × prompts × styles × seeds. Plans jobs, runs them, goes on where it was stopped.

It knows requests and files; what makes a picture of a request is handed in.
"""

from .planning import Job as Job
from .planning import plan as plan
from .results import Outcome as Outcome
from .running import Progress as Progress
from .running import run as run
from .subjects import Subject as Subject
from .subjects import find_subjects as find_subjects
from .subjects import read_prompts as read_prompts
