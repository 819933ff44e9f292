"""What is wrong with a folder of face models, in words."""

from pathlib import Path

from ..errors import BundleError


def incomplete(folder: Path, missing: str) -> BundleError:
    present = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    return BundleError(f"{missing} is missing in {folder}, which holds {present}. Fetch the bundle again.")


def damaged(folder: Path, error: Exception) -> BundleError:
    return BundleError(
        f"A face model in {folder} is damaged or half downloaded ({error}). Delete the folder, fetch it again."
    )
