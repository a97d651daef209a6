"""GPT: one model that reads from left to right, for every task (Radford et al. 2018, 2019; Brown et al. 2020)."""
