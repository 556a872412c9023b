"""Training: the pure steps, and the loop that makes run folders."""

from zoo.training.epochs import Result
from zoo.training.evaluation import Answers, evaluate_classes
from zoo.training.loop import fit, resume
from zoo.training.metrics import Epoch, Progress, Step, evaluate
from zoo.training.optimiser import make_optimizer, make_schedule
from zoo.training.preparation import load_splits
from zoo.training.publishing import push, write_run
from zoo.training.recipe import TrainConfig, make_loss
from zoo.training.recipe_files import list_recipes, read_recipe
from zoo.training.run_folder import RunFolder, RunRecord, Trained
from zoo.training.state import TrainState, create_train_state
from zoo.training.step import Batch, make_eval_step, make_train_step
