"""The answer of a network averaged over views, band by band: never more than one band of all classes is held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from featalign.inference.budget import Budget, Plan
from featalign.inference.network import Encoded, Network, Seen, Size, look
from featalign.inference.picture import Picture
from featalign.inference.resampling import resample, resize_taps
from featalign.inference.views import Span, View, Views
from featalign.models.adaptive import EFFORT
from featalign.models.decoding import as_labels
from featalign.models.network import Mode

_Key = tuple[int, Span, Span, bool]
Context = Callable[[], AbstractContextManager[None]]


@dataclass
class Average:
    """One picture's answer of size ``output``, averaged over ``seen``, its views by the rules of ``views``.

    ``budget``: what it may take, and how it is cut into bands for that.
    """

    network: Network
    picture: Picture
    views: Views
    seen: Sequence[View]
    output: Size
    budget: Budget
    mode: Mode
    context: Context
    device: torch.device
    effort: float = EFFORT
    _kept: dict[_Key, Seen] = field(default_factory=dict, init=False)

    @property
    def single(self) -> bool:
        """Whether there is nothing to average."""
        views = len(self.seen) * len(self.seen[0].rows) * len(self.seen[0].columns) * len(self.views.flips)
        return views == 1 and self.seen[0].grid == self.output

    @torch.inference_mode()
    def labels(self) -> Tensor:
        """Class ids (B, *output): uint8, int16 beyond 256 classes, int64 beyond int16."""
        if self.single:
            view, scratch = self.seen[0], self.budget.scratch  # too small a budget is refused before the network runs
            row, column = view.rows[0], view.columns[0]
            found = self._look(0, row, column, flipped=False)
            if isinstance(found, Encoded):
                box = view.box(row, column, range(self.output[0]), flipped=False)
                return found.labels(box, self.output, max_memory=scratch)
            self._kept[0, row, column, False] = found
        plan = self.budget.plan()
        ids = [as_labels(self._band(band, plan)) for band in plan.bands(self.output[0])]
        return ids[0] if len(ids) == 1 else torch.cat(ids, 1)

    @torch.inference_mode()
    def probabilities(self) -> Tensor:
        """(B, K, *output), float32."""
        answers = self.answers()
        return answers.softmax(1) if self.views.published == "alignseg" else answers

    @torch.inference_mode()
    def answers(self) -> Tensor:
        """What is averaged, (B, K, *output), float32: probabilities, or logits by AlignSeg's rules."""
        plan = self.budget.plan()
        result = self._zeros(*self.output)
        for band in plan.bands(self.output[0]):
            result[:, :, band.start : band.stop] = self._band(band, plan)
        return result

    def _band(self, band: range, plan: Plan) -> Tensor:
        """The average (B, K, rows, W) over rows ``band`` of the output."""
        wanted = [self._rows_of(view, band) for view in self.seen]
        self._forget_before([rows.start for rows in wanted])
        total = self._zeros(len(band), self.output[1])
        for index, rows in enumerate(wanted):
            if self.seen[index].grid == self.output:
                self._add(total, index, rows, plan)
            else:
                total += self._resized(index, rows, band, plan)
        return total.div_(len(self.seen) * len(self.views.flips))

    def _rows_of(self, view: View, band: range) -> range:
        """The rows of the view's grid that ``band`` of the output is made of."""
        if view.grid == self.output:
            return band
        return range(*resize_taps(view.grid[0], self.output[0], band, aligned=True).region)

    def _resized(self, index: int, rows: range, band: range, plan: Plan) -> Tensor:
        """What published code does: the answer on the scaled image, resized with aligned corners."""
        grid = self.seen[index].grid
        answer = self._zeros(len(rows), grid[1])
        self._add(answer, index, rows, plan)
        row_taps = resize_taps(grid[0], self.output[0], band, aligned=True)
        column_taps = resize_taps(grid[1], self.output[1], range(self.output[1]), aligned=True)
        return resample(answer, row_taps.within(rows.start), column_taps)

    def _add(self, total: Tensor, index: int, band: range, plan: Plan) -> None:
        """Add a view's answer over rows ``band`` of its grid: the mean over the windows that answer for a cell."""
        view = self.seen[index]
        for row in view.rows:
            rows = range(max(row.first, band.start), min(row.end, band.stop))
            if not rows:
                continue
            for column in view.columns:
                share = _share(view.rows, rows)[:, None] * _share(view.columns, range(column.first, column.end))
                place = total[..., rows.start - band.start : rows.stop - band.start, column.first : column.end]
                for flipped in self.views.flips:
                    values = self._values((index, row, column, flipped), rows, plan)
                    place += values if bool((share == 1).all()) else values.mul_(share.to(values.device))
                    del values

    def _values(self, key: _Key, rows: range, plan: Plan) -> Tensor:
        """What one window says of ``rows`` of its view's grid."""
        index, row, column, flipped = key
        found = self._kept[key] if key in self._kept else self._look(*key)
        if plan.keep:
            self._kept[key] = found
        box = self.seen[index].box(row, column, rows, flipped=flipped)
        logits = found.logits(box, (len(rows), column.end - column.first), max_memory=plan.scratch).float()
        if flipped:
            logits = logits.flip(-1)
        return logits.clone() if self.views.published == "alignseg" else _softmax(logits)

    def _look(self, index: int, row: Span, column: Span, flipped: bool) -> Seen:
        view = self.seen[index]
        part = self.picture.part(view.size, row, column)
        if flipped:
            part = part.flip(-1)
        part = part.contiguous(memory_format=torch.channels_last)
        grid = view.whole_grid(row, column)
        return look(self.network, part, grid=grid, mode=self.mode, effort=self.effort, context=self.context)

    def _forget_before(self, firsts: Sequence[int]) -> None:
        """Let go of windows that end above the rows still to come."""
        self._kept = {key: seen for key, seen in self._kept.items() if key[1].end > firsts[key[0]]}

    def _zeros(self, rows: int, width: int) -> Tensor:
        shape = (self.picture.images.shape[0], len(self.network.classes), rows, width)
        return torch.zeros(shape, dtype=torch.float32, device=self.device)


def _share(spans: Sequence[Span], cells: range) -> Tensor:
    """One over the number of windows that answer for each of ``cells``."""
    place = torch.arange(cells.start, cells.stop)
    count = torch.zeros(len(cells))
    for span in spans:
        count += (place >= span.first) & (place < span.end)
    return 1 / count


def _softmax(logits: Tensor) -> Tensor:
    """Over the classes, with one new tensor; torch's own copies what is channels-last."""
    values = logits - logits.amax(1, keepdim=True)
    values.exp_()
    return values.div_(values.sum(1, keepdim=True))
