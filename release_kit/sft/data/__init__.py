"""Examples → tokens → packed rows, the loss where it belongs, and the audit that looks before anything is trained."""
