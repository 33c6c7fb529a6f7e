"""Tables of language models, and what is chosen from them, as other programs' files."""

from constrained_nas.tables.bit_tables import BITS, BitTable, read_bit_table
from constrained_nas.tables.layer_files import layer_configuration, save_choice, tensor_types
