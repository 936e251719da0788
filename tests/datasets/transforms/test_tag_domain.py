import numpy as np
import pytest
from mmseg.datasets.transforms import PackSegInputs

from cda_mmseg.datasets.transforms.tag_domain import TagDomain, role_of


@pytest.mark.parametrize('domain', ['source', 'target', 'target_night', 'source_2'])
def test_domain_reaches_the_data_sample(domain):
    results = TagDomain(domain)(dict(img=np.zeros((4, 4, 3), np.uint8)))
    sample = PackSegInputs(meta_keys=('domain',))(results)['data_samples']
    assert sample.metainfo['domain'] == domain


@pytest.mark.parametrize('domain', ['real', 'targets', 'target/night', 'target.night', 'target_', '', None])
def test_other_domains_are_refused(domain):
    with pytest.raises(ValueError, match=f"must be named 'source' or 'target', .*; got {domain!r}"):
        TagDomain(domain)


def test_roles():
    assert [role_of(name) for name in ('source', 'source_gta', 'target', 'target_0006R0')] == ['source'] * 2 + [
        'target'
    ] * 2
