from . import backend as backend
from . import purify as purify
from . import views as views
