"""Audits: from released models to lower bounds and a verdict. An audit can refute a claim, never prove one."""
