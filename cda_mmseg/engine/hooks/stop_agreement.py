"""Let all processes of a run stop after the same step."""

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size


class StopAgreement:
    """Find out, once per step and for next to no time, whether any process wants to stop.

    The wish of step i is gathered in the background while step i + 1 is computed, over a gloo group of its own: no GPU
    is waited for, and the answer, read after step i + 1, is the same everywhere. One process needs nobody's consent.

    All processes create it, and call :meth:`ask` equally often.
    """

    def __init__(self) -> None:
        self._group = dist.new_group(backend='gloo') if get_world_size() > 1 else None
        self._pending: tuple[dist.Work, torch.Tensor] | None = None

    def ask(self, wish: bool) -> bool:
        """State this process's wish and learn what the processes wished one call ago.

        Args:
            wish (bool): Whether this process wants to stop.

        Returns:
            bool: Whether all of them stop now.

        Raises:
            RuntimeError: If a process is gone.
        """
        if self._group is None:
            return wish
        if self._collect():
            return True
        wishes = torch.tensor([int(wish)], dtype=torch.int32)
        self._pending = dist.all_reduce(wishes, dist.ReduceOp.MAX, group=self._group, async_op=True), wishes
        return False

    def close(self) -> None:
        """Wait for the last question's answer, which nobody needs any more.

        Raises:
            RuntimeError: If a process is gone.
        """
        self._collect()

    def _collect(self) -> bool:
        """Wait for the answer to the last question."""
        if self._pending is None:
            return False
        work, wishes = self._pending
        self._pending = None
        try:
            work.wait()
        except RuntimeError as error:
            raise RuntimeError(
                f'Another process of this run is gone ({str(error).splitlines()[0]}). Its own message says why; '
                'the last checkpoint stands, go on with --resume auto.'
            ) from error
        return bool(wishes.item())
