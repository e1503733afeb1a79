from . import backend as backend
from . import purify as purify
