"""What can go wrong, in words that a user can act on.

Every message says what was got, what was wanted and what to do. Anything that is not an
`InstantIDError` is a bug and is left to crash.
"""


class InstantIDError(Exception):
    """A problem that the person asking can fix."""


class InvalidRequest(InstantIDError):
    """A setting is missing, unknown or outside its limits."""


class InvalidImage(InstantIDError):
    """A file is not a picture that can be read safely."""


class NoFaceFound(InstantIDError):
    """No face in a photo. `tried` lists the detection attempts, in order, as shown in the message."""

    def __init__(self, message: str, tried: tuple[str, ...] = ()):
        super().__init__(message)
        self.tried = tried

    def __reduce__(self):  # the default pickles the message alone; ZeroGPU sends errors between processes
        return type(self), (str(self), self.tried)


class InvalidPerson(InstantIDError):
    """A saved person is unknown, damaged, of other face models, or the name is taken or cannot be used."""


class InvalidStyle(InstantIDError):
    """A style preset is unknown, or its file is malformed (the message names the file)."""


class BundleError(InstantIDError):
    """A bundle's description or one of its parts is missing, incomplete or of the wrong shape."""


class DownloadError(InstantIDError):
    """Weights could not be fetched: no network, no space, no permission, or damaged on the way."""


class InvalidMetadata(InstantIDError):
    """A picture carries no request of ours, or one that this version cannot read."""


class OutOfMemory(InstantIDError):
    """The device has no room for this request as it stands."""


class Cancelled(InstantIDError):
    """The run was stopped on request. The engine stays usable."""
