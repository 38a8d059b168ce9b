// From where on figures of a stream are bad enough for a colour.

/** Percent; above this people hear it. */
const LOSS_BAD = 1;
/** ITU-T G.107 annex B: below 3.6 many are dissatisfied. */
const MOS_BAD = 3.6;

export const lossIsBad = (percent: number) => percent > LOSS_BAD;
export const mosIsBad = (mos: number | null) => mos !== null && mos < MOS_BAD;
