from .config.overrides import read_config as read_config
from .config.table import default_config as default_config
from .kernels import compiler_options as compiler_options
from .kernels import setup as setup
from .models import create_model as create_model
from .models import fold_batch_norm as fold_batch_norm
from .models import list_models as list_models
from .models.pyramid import model_features as model_features
from .tasks.classification.predictor import Predictor as Predictor
from .training import train as train
from .training.evaluate_run import evaluate_run as evaluate_run
from .weights import adapt_channels as adapt_channels
from .weights import load as load
from .weights import load_weights as load_weights

__version__: str
