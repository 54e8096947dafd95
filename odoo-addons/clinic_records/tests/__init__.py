from . import test_access as test_access
from . import test_medical_record as test_medical_record
from . import test_patient as test_patient
from . import test_report as test_report
