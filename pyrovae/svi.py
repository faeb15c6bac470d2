"""Stochastic variational inference, with the interface of `pyro.infer.SVI`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyrovae.objective import Objective
from pyrovae.parameters.names import names_known
from pyrovae.programs import Program, own_parameters
from pyrovae.step import settings
from pyrovae.step.call_arguments import slices
from pyrovae.step.capture import Capture
from pyrovae.step.compiled import CompiledStep
from pyrovae.step.loss_and_gradients import LossAndGradients
from pyrovae.step.lowering import CannotCompileError
from pyrovae.step.policy import Level, Policy
from pyrovae.step.precision import Precision
from pyrovae.step.recording import Outputs, ParametersChangedError, Recording
from pyrovae.step.row_tables import row_tables
from pyrovae.step.settings import Optimizer, Setting
from pyrovae.step.untrained import Untrained, give
from pyrovae.step.update import Share, Update
from pyrovae.stock import no_gradient, warn_if_no_bound


class SVI:
    r"""Stochastic variational inference: gradient steps on an objective of a model and a guide.

    .. math:: \theta, \phi \leftarrow \text{optim}(\theta, \phi, \nabla \text{loss}(\theta, \phi))

    Every parameter of the two modules is trained, and every ``pyro.param`` they use; modules keep their
    own parameters, whatever their names, and Pyro's global store is left alone. The arguments are attributes
    too: one that is assigned holds from the next step on.

    As in Pyro, a step adds what one's own ``backward`` left in ``.grad``, and takes it away.
    Pyro validates values in steps that run the programs, not in those played back. Of these, one whose loss
    is not finite is not applied but taken in Python, which raises or goes on as ever. On an accelerator
    nobody waits for the loss: a compiled step with Adam then changes nothing, any other is applied.

    Args:
        model: p(x, z), a Pyro program.
        guide: q(z | x), a Pyro program.
        optim: an optimizer of ``pyro.optim``, a ``torch.optim.Optimizer`` over the programs' parameters,
            or a callable that makes one from parameters, such as
            ``functools.partial(torch.optim.Adam, lr=1e-3)``.
        loss: an objective of this package, or a `pyro.infer.ELBO`.
        level: ``"eager"`` runs the programs at every step. ``"traced"`` runs them once, and plays back
            what they did to tensors ever after: the same parameters to the bit, without the Python.
            ``"compiled"`` turns that and the optimizer into machine code, which takes some seconds and a
            C++ compiler. ``"auto"`` starts eager, and goes on to the others as soon as they pay.
        expected_steps: how many steps will be taken, if it is known; ``"auto"`` decides by it.
        clip_norm: the largest norm of the gradient of all parameters together; None does not clip.
        reproducible: the same seed gives the same bits in another process: ``"auto"`` does not compile,
            since a clock would say from which step on.
        precision: of large matrix products, and of convolutions. ``"bfloat16"`` is faster where the
            hardware multiplies faster in it; parameters, log-probabilities and sums stay in float32.
        share: makes the gradients of this process those of all, before they are clipped and applied.

    Raises:
        TypeError: an optimizer or a loss that is none of these.
        ValueError: an unknown level or precision, or a norm not above 0.

    Source: Black box variational inference (Ranganath, Gerrish & Blei, 2014); Automated variational
    inference in probabilistic programming (Wingate & Weber, 2013).

    How to read it: ``step`` returns minus the bound of the data set, in nats, before the step.

    Example:
        >>> import functools, torch
        >>> from pyrovae.models import ProbabilisticPCA
        >>> from pyrovae.guides import Amortized
        >>> from pyrovae.objectives import ELBO
        >>> adam = functools.partial(torch.optim.Adam, lr=1e-2)
        >>> svi = SVI(ProbabilisticPCA(5, latent=2), Amortized(5, 2), adam, loss=ELBO())
        >>> isinstance(svi.step(torch.zeros(3, 5)), float)
        True
    """

    model = Setting[Program]("function")
    guide = Setting[Program]("function")
    loss = Setting[ELBO]("function", settings.check_loss)
    precision = Setting[Precision]("function", settings.check_precision)
    optim = Setting[Optimizer]("optimizer", settings.check_optim)
    clip_norm = Setting[float | None]("recordings", settings.check_norm)
    share = Setting[Share | None]("recordings")
    level = Setting[Level]("recordings", settings.check_level)
    expected_steps = Setting[int | None]("recordings")
    reproducible = Setting[bool]("recordings")

    def __init__(
        self,
        model: Program,
        guide: Program,
        optim: Optimizer,
        loss: ELBO,
        *,
        level: Level = "auto",
        expected_steps: int | None = None,
        clip_norm: float | None = None,
        reproducible: bool = False,
        precision: Precision = "float32",
        share: Share | None = None,
    ) -> None:
        self.model = model
        self.guide = guide
        self.optim = optim
        self.loss = loss
        self.level = level
        self.expected_steps = expected_steps
        self.clip_norm = clip_norm
        self.reproducible = reproducible
        self.precision = precision
        self.share = share
        self._untrained = Untrained()
        self._renew("function")
        self._renew("optimizer")

    def __getstate__(self) -> dict[str, Any]:
        """All but the recordings, which a copy makes anew: they belong to these parameters."""
        return {**vars(self), "_capture": None}

    def _renew(self, part: settings.Part) -> None:
        self._capture: Capture | None = None
        if part == "function":
            self._function = LossAndGradients(self.model, self.guide, self.loss, self.precision)
            self._begun = False
        elif part == "optimizer":
            self._update: Update | None = None
        elif self._update is not None:
            self._update.clip_norm, self._update.share = self.clip_norm, self.share

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The torch optimizer at work; None with ``pyro.optim``, or before the first step."""
        optim = self.optim if self._update is None else self._update.optim
        return optim if isinstance(optim, torch.optim.Optimizer) else None

    def parameters(self) -> list[Tensor]:
        """The parameters of the model and the guide that are modules, each once."""
        return self._function.parameters()

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take one gradient step, and return the loss before it, in nats."""
        return float(self.step_tensor(*args, **kwargs))

    def step_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take one gradient step, and return the loss before it as a tensor, without waiting for it."""
        capture = self._capture
        if capture is None or capture.refused is not None:
            return self._eager_step(args, kwargs)
        try:
            (loss,) = capture(args, kwargs)
        except ParametersChangedError:
            self._capture = None
            return self._eager_step(args, kwargs)
        return loss  # type: ignore[return-value]

    def steps(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take a step with each slice of the arguments, such as all batches of a pass over the data.

        Args:
            *args: every tensor has a first dimension more than in `step`: (S, B, D) for (B, D).
            **kwargs: likewise; what is no tensor is the same at each step.

        Returns:
            (S,), the loss before each step, in nats.

        Example:
            >>> import functools, torch
            >>> from pyrovae.models import ProbabilisticPCA
            >>> from pyrovae.guides import Amortized
            >>> from pyrovae.objectives import ELBO
            >>> adam = functools.partial(torch.optim.Adam, lr=1e-2)
            >>> svi = SVI(ProbabilisticPCA(5, latent=2), Amortized(5, 2), adam, loss=ELBO())
            >>> x, order = torch.zeros(30, 5), torch.randperm(30)
            >>> svi.steps(x[order.reshape(3, 10)]).shape
            torch.Size([3])
        """
        calls = slices(args, kwargs)
        losses: list[Tensor] = []
        while calls:
            together = None if self._capture is None else self._capture.many(calls)
            if together is not None:
                return torch.stack([*losses, *together])
            first_args, first_kwargs = calls.pop(0)
            losses.append(self.step_tensor(*first_args, **first_kwargs))
        return torch.stack(losses)

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float:
        """The loss at these data, in nats, without a step."""
        with torch.no_grad(), own_parameters():
            return float(self.loss.loss(self.model, self.guide, *args, **kwargs))

    def _eager_step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A step that runs the programs, and shows which parameters they use."""
        function = self._function
        if not self._begun:
            warn_if_no_bound(self.loss, self.model, self.guide, *args, **kwargs)
            self._begun = True
        if self._update is None and not (callable(self.optim) and not function.parameters()):
            self._take_optimizer(function.parameters())
        if self._update is not None:
            function.tables = self._update.tables(row_tables(self.model, self.guide))
        outputs = function.first(args, kwargs)
        self._take_optimizer(function.leaves)
        self._untrained(self.optim, function, outputs[1:])
        (loss,) = self._finish(outputs)
        if self._capture is None and self.level != "eager":
            self._capture = self._make_capture()
        return loss  # type: ignore[return-value]

    def _take_optimizer(self, parameters: list[Tensor]) -> None:
        """Make the optimizer if it is to be made here, for all parameters there are."""
        if self._update is None:
            optim = settings.made(self.optim, parameters)
            self._update = Update(optim, self.clip_norm, self.share)
        elif self.optimizer is not None and self.optimizer is not self.optim:
            give(self.optimizer, parameters)

    def _make_capture(self) -> Capture:
        remembered = self.loss.state().values() if isinstance(self.loss, Objective) else ()
        capture = Capture(
            self._function,
            [self.model, self.guide, self.loss],
            [*self._function.tensors(), *remembered],  # moving averages, counts of steps
            Policy(self.level, self.expected_steps, reproducible=self.reproducible),
            places=self._function.places(),
            finish=self._finish,
            compiler=self._compile,
        )
        if not self._function.differentiable:
            capture.refuse(no_gradient(self.loss))
        return capture

    def _finish(self, outputs: Outputs) -> Outputs:
        if self._update is not None:
            with names_known(self.optim, self._function.leaves, self.model, self.guide):
                self._update(self._function.leaves, outputs[1:])
        return outputs[:1]

    def _compile(self, recording: Recording, inputs: Sequence[Tensor]) -> CompiledStep:
        if self._update is None:
            raise CannotCompileError("there is no optimizer yet")
        arguments = 0 if self._capture is None else len(self._capture.state)
        return CompiledStep(recording, self._function.leaves, self._update, inputs, arguments)
