from . import backend as backend
from . import purify as purify
from . import text as text
from . import views as views
