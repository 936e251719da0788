"""Note on each sample which domain it comes from."""

import re
from collections.abc import Collection

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

_NAME = re.compile(r'(source|target)(_\w+)?')


def role_of(domain: str) -> str:
    """Tell whether a domain is a source or a target.

    Args:
        domain (str): Its name: ``'source'``, ``'target'``, or one of these with an ending, as ``'target_night'``.

    Returns:
        str: ``'source'`` or ``'target'``.

    Raises:
        ValueError: If the name is another.
    """
    match = _NAME.fullmatch(domain) if isinstance(domain, str) else None
    if match is None:
        raise ValueError(
            "a domain must be named 'source' or 'target', or one of these with an ending of letters, digits and _, as "
            f"'target_night'; got {domain!r}"
        )
    return match[1]


def check_domains(domains: Collection[str]) -> None:
    """Refuse ``'target'`` beside ``'target_night'``: scores of the former are means over those with an ending.

    Args:
        domains (Collection[str]): Names of all domains that are scored together.

    Raises:
        ValueError: If there are both.
    """
    for role in ('source', 'target'):
        parts = sorted({domain for domain in domains if role_of(domain) == role})
        if role in parts and len(parts) > 1:
            raise ValueError(
                f'the domains {", ".join(parts)} cannot be scored side by side, because {role!r} is the name of their '
                f"mean: give it an ending too, as TagDomain(domain='{role}_day')"
            )


@TRANSFORMS.register_module()
class TagDomain(BaseTransform):
    """Write the domain into the results, so that no later part has to guess it from a path.

    Added key: ``domain``. Pack it with ``PackSegInputs(meta_keys=(..., 'domain'))``.

    Args:
        domain (str): ``'source'`` or ``'target'``; where there are several of a kind, each with an ending, as
            ``'target_night'`` and ``'target_fog'``.

    Raises:
        ValueError: When ``domain`` is none of these.
    """

    def __init__(self, domain: str) -> None:
        role_of(domain)
        self.domain = domain

    def transform(self, results: dict) -> dict:
        """Tag one sample."""
        results['domain'] = self.domain
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(domain={self.domain!r})'
