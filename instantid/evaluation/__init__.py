"""Is it the person, does it follow the prompt, how fast: measured on pictures that a bundle makes.

Sets say of whom, protocols which pictures; they are made, measured and shown in a report. Metrics are functions of
arrays and pictures; nothing here trains the bundle.
"""

from .evaluating import Progress as Progress
from .evaluating import Wanted as Wanted
from .evaluating import evaluate as evaluate
from .protocols import PROTOCOLS as PROTOCOLS
