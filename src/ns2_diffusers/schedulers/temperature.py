"""The temperature of the noise that generation starts from, without torch."""

# The paper's inference draws z_T from N(0, I / temperature) at a temperature of 1.2².
DEFAULT_TEMPERATURE = 1.2**2
