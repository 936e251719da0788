"""Note on each sample which domain it comes from."""

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TagDomain(BaseTransform):
    """Write the domain into the results, so that no later part has to guess it from a path.

    Added key: ``domain``. Pack it with ``PackSegInputs(meta_keys=(..., 'domain'))``.

    Args:
        domain (str): ``'source'`` or ``'target'``.

    Raises:
        ValueError: When ``domain`` is neither.
    """

    def __init__(self, domain: str) -> None:
        if domain not in ('source', 'target'):
            raise ValueError(f"TagDomain: domain must be 'source' or 'target', got {domain!r}")
        self.domain = domain

    def transform(self, results: dict) -> dict:
        """Tag one sample.

        Args:
            results (dict): Result dict.

        Returns:
            dict: The same dict with ``domain`` set.
        """
        results['domain'] = self.domain
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(domain={self.domain!r})'
