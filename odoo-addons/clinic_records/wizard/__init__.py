from . import medical_record_amend as medical_record_amend
