from . import backend as backend
from . import container as container
from . import purify as purify
from . import text as text
