export { LabError, type LabErrorCode } from './error.ts';
export type { ExecOptions } from './hosts.ts';
export type { KubeObject, Kubernetes } from './kubernetes.ts';
export { downLab, findLab, type Lab, labName, type UpOptions, upLab } from './lab.ts';
export type { Line } from './network/delay-line.ts';
export { GATEWAY_PORT, type Host, TRUST_DOMAIN } from './plan.ts';
export type { RunResult } from './run.ts';
