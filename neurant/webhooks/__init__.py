"""Other systems that are told what happens here."""
