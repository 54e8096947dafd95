from . import test_access as test_access
from . import test_ask as test_ask
from . import test_publish as test_publish
from . import test_report as test_report
