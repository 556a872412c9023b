"""What `predict` and `explain` look with: the net of a run folder, or a model with its weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from zoo import weights as library
from zoo.cli.runs import restore
from zoo.cli.terminal import working
from zoo.data import Preprocessing, read_class_names
from zoo.errors import UserError
from zoo.models import Net, registry
from zoo.training import RunFolder, TrainConfig
from zoo.weights.key_maps import Variables

NetName = Annotated[str, arg(metavar="RUN|MODEL")]
Weights = Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")]
PreprocessingName = Annotated[str | None, arg(metavar="NAME|JSON", help_behavior_hint="")]
Labels = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]


@dataclass(frozen=True)
class Opened:
    """A trained net.

    Attributes:
      name: of its model.
      model, variables: the net.
      preprocessing: of its pictures.
      class_names: if its classes have names.
      config: of the run, if it is one.
    """

    name: str
    model: Net
    variables: Variables
    preprocessing: Preprocessing
    class_names: Sequence[str] | None
    config: TrainConfig | None = None


def open_net(net: str, weights: str | None, preprocessing: str | None, labels: Path | None) -> Opened:
    """What the words of a command mean.

    Raises:
      UserError: a run was given weights, a name means two things, or what is named cannot be loaded.
    """
    if _is_run(net, weights):
        if weights or preprocessing:
            problem = f"{net} is a run folder, which has its own weights"
            raise UserError(problem, "leave out --weights and --preprocessing")
        trained = restore(Path(net))
        record = trained.record
        names: Sequence[str] | None = record.class_names
        opened = Opened(
            record.config.model, trained.model, trained.state.variables, record.preprocessing, names, record.config
        )
    else:
        with working("loading"):
            prepared = library.find_preprocessing(net, weights, preprocessing)
            model, variables = library.pretrained(net, weights)
            names = None if labels else library.find_class_names(net, weights)
        opened = Opened(net, model, variables, prepared, names)
    if labels is None:
        return opened
    return replace(opened, class_names=read_class_names(labels, opened.model.num_classes))


def _is_run(name: str, weights: str | None) -> bool:
    """Whether a run folder was given. A model's name is a model, whatever lies under that name beside it.

    Raises:
      UserError: a run lies there.
    """
    if name not in registry.list_models():
        return weights is None or Path(name).exists()
    if weights is None and RunFolder(name).config_path.exists():
        raise UserError(
            f"{name} is a model and a run folder", f"./{name} is the run, {name} --weights FILE is the model"
        )
    return False
