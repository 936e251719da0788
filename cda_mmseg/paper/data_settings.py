"""The data that the experiments can run on: built-in worlds, AirSim to CamVid, or the paper's own downloads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from mmengine.config import Config

from cda_mmseg.datasets.worlds import write_world
from cda_mmseg.paper.experiments import GTAV, SYNTHIA

# As the configs' data sets name their folders.
_STOCK_ROOT = 'data'


@dataclass(frozen=True)
class DataSetting:
    """Say which configs and which files stand for the paper's data sets.

    Attributes:
        name (str): Name of its folder.
        title (str): What a table says about its data.
        leaf (str): Path of a config below ``configs``, with ``{method}`` and ``{pair}``.
        pairs (Mapping[str, str]): Pair of the paper → pair that stands for it, as the configs are named.
        root (str | None): Folder that takes the place of ``data`` in the data roots.
        world (str | None): Folder of a built-in world below the working directory, with ``{pair}``.
        world_size (Mapping[str, object]): Arguments of :func:`write_world`.
    """

    name: str
    title: str
    leaf: str
    pairs: Mapping[str, str]
    root: str | None = None
    world: str | None = None
    world_size: Mapping[str, object] = field(default_factory=dict)

    def config_path(self, method: str, pair: str) -> str:
        """Name the config of a method.

        Args:
            method (str): 'source_only' or 'gan_ce'.
            pair (str): The paper's pair.

        Returns:
            str: Path below ``configs``.

        Raises:
            ValueError: If nothing stands for the pair here.
        """
        if pair not in self.pairs:
            raise ValueError(f'{self.title} has nothing that stands for {pair}; it has {", ".join(self.pairs)}.')
        return self.leaf.format(method=method, pair=self.pairs[pair])

    def score_names(self, pair: str) -> dict[str, str]:
        """Name the logged scores that stand beside the paper's columns.

        Args:
            pair (str): The paper's pair.

        Returns:
            dict[str, str]: 'mIoU', and for SYNTHIA 'mIoU-2' → name of the score without its domain.
        """
        if self.pairs[pair] == SYNTHIA:
            return {'mIoU': 'mIoU16', 'mIoU-2': 'mIoU13'}
        return {'mIoU': 'mIoU'}

    def prepare(self, pair: str, workers: int = 1) -> None:
        """Write the built-in world of a pair if it is not there.

        Args:
            pair (str): The paper's pair.
            workers (int): Number of processes.
        """
        if self.world is None:
            return
        folder = Path(self.world.format(pair=self.pairs[pair]))
        if not folder.exists():
            print(f'Writing the built-in world {folder}', flush=True)
            write_world(folder, self.pairs[pair], workers=workers, **self.world_size)

    def place_data(self, config: Config) -> None:
        """Point a config at the setting's folder.

        Args:
            config (Config): The config to change.
        """
        if self.root is None:
            return
        for name in ('train', 'target', 'val', 'test'):
            dataset = config[f'{name}_dataloader'].dataset
            for part in dataset.get('datasets', [dataset]):
                part.data_root = self.root + part.data_root.removeprefix(_STOCK_ROOT)


_BOTH = MappingProxyType({GTAV: GTAV, SYNTHIA: SYNTHIA})

SETTINGS: Mapping[str, DataSetting] = MappingProxyType(
    {
        'worlds': DataSetting(
            'worlds', 'built-in worlds', 'demo/{method}_{pair}.py', _BOTH, world='data/worlds/{pair}'
        ),
        'smoke': DataSetting(
            'smoke',
            'smoke-sized built-in worlds',
            'smoke/{method}_{pair}.py',
            _BOTH,
            world='data/worlds/smoke_{pair}',
            world_size=MappingProxyType(dict(size=(64, 32), source=8, target_train=8, target_val=4)),
        ),
        'airsim': DataSetting(
            'airsim', 'AirSim → CamVid', '{method}_{pair}.py', MappingProxyType({GTAV: 'airsim2camvid'})
        ),
    }
)
"""Name → data other than the paper's."""


def find_setting(data: str) -> DataSetting:
    """Look up where to run.

    Args:
        data (str): 'worlds', 'airsim', 'smoke', or the folder that holds ``gtav``, ``synthia`` and ``cityscapes`` as
            downloaded.

    Returns:
        DataSetting: The setting.

    Raises:
        FileNotFoundError: If it is none of these.
    """
    if data in SETTINGS:
        return SETTINGS[data]
    if not (Path(data) / 'cityscapes').is_dir():
        raise FileNotFoundError(
            f'--data {data}: neither one of {", ".join(SETTINGS)} nor a folder with cityscapes/, gtav/, synthia/ in it.'
        )
    return DataSetting('downloads', "the paper's data sets", '{method}_{pair}.py', _BOTH, root=str(Path(data)))
