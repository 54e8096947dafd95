from . import test_access as test_access
from . import test_notify as test_notify
