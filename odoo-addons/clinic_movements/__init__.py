from . import models as models
from .hooks import uninstall_hook as uninstall_hook
