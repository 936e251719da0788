"""Write configs as text."""

from mmengine.config import Config


def plain_text(config: Config) -> str:
    """Write a config without mmengine's formatter, which takes longer than everything else here."""
    return '\n'.join(f'{key} = {value!r}' for key, value in config.to_dict().items())
