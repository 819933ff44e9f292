"""Pictures that were made, newest first: kept in a folder, found again, compared, taken along.

It knows files and records, no pages.
"""

from .reading import differences as differences
from .reading import flat as flat
from .reading import matching as matching
from .reading import pack as pack
from .store import Entry as Entry
from .store import History as History
