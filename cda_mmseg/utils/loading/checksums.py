"""Compare files of weights with the checksums that they come with: torch's readers do not."""

import hashlib
import re
import zipfile

# Publishers put the first digits of the SHA-256 into the name. Decimal digits alone are more likely a date.
_HASH_IN_NAME = re.compile(r'.*-(?!\d+\.)([0-9a-f]{8,64})\.\w+')
_ZIP_START = b'PK\x03\x04'
_FOLDER = 0x10


def hash_in_name(path: str) -> str | None:
    """Find the first digits of a file's SHA-256 in its name, as in ``vgg16-397923af.pth``; None without any."""
    named = _HASH_IN_NAME.fullmatch(path)
    return named and named[1]


def find_damage(path: str) -> str | None:
    """Compare a file with its checksums, at more than 1 GB/s.

    Files that :func:`torch.save` has written since torch 1.6 are zip files, in which every tensor has a checksum.
    Others have one only if it stands in their name.

    Args:
        path: The file.

    Returns:
        What is wrong; None if nothing is known to be.
    """
    with open(path, 'rb') as file:
        is_zip = file.read(len(_ZIP_START)) == _ZIP_START
    if is_zip:
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
                # torch reads what is marked as a folder as nothing
                folders = [entry.filename for entry in archive.infolist() if entry.external_attr & _FOLDER]
        except Exception as error:
            # a flipped bit in the archive's directory makes zipfile raise nearly anything
            return f'{type(error).__name__}: {error}'
        if folders:
            return f'{folders[0]} is marked as a folder'
        return damaged and f'the checksum of {damaged} is wrong'
    named = hash_in_name(path)
    if named is not None:
        with open(path, 'rb') as file:
            found = hashlib.file_digest(file, 'sha256').hexdigest()
        if not found.startswith(named):
            return f'its SHA-256 begins with {found[: len(named)]}, not with the {named} of its name'
    return None
