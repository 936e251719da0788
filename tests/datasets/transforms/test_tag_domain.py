import numpy as np
import pytest
from mmseg.datasets.transforms import PackSegInputs

from cda_mmseg.datasets.transforms.tag_domain import TagDomain


@pytest.mark.parametrize('domain', ['source', 'target'])
def test_domain_reaches_the_data_sample(domain):
    results = TagDomain(domain)(dict(img=np.zeros((4, 4, 3), np.uint8)))
    sample = PackSegInputs(meta_keys=('domain',))(results)['data_samples']
    assert sample.metainfo['domain'] == domain


def test_other_domains_are_refused():
    with pytest.raises(ValueError, match="must be 'source' or 'target', got 'real'"):
        TagDomain('real')
