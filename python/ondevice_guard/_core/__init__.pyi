from . import backend as backend
from . import container as container
from . import purify as purify
from . import residual as residual
from . import signal as signal
from . import text as text
from . import typographic as typographic
from . import views as views
