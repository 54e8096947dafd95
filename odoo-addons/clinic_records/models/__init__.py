from . import identity as identity
from . import ir_attachment as ir_attachment
from . import medical_record as medical_record
from . import res_partner as res_partner
