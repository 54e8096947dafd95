from . import test_access as test_access
from . import test_apply as test_apply
from . import test_conflicts as test_conflicts
