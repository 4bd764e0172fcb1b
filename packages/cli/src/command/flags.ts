/** Flags that commands share. Each can be given by an environment variable. */
import { Option } from 'commander';

export function flag(flags: string, description: string, env: string): Option {
  return new Option(flags, description).env(env);
}

export function required(flags: string, description: string, env: string): Option {
  return flag(flags, description, env).makeOptionMandatory();
}

export function output(): Option {
  return new Option('--output <form>', 'how to print').choices(['text', 'json']).default('text');
}

/** How a command reaches the broker as an operator (operator-client.ts). */
export function operatorFlags(): Option[] {
  return [
    required('--operator <url>', 'operator listener of the broker', 'MESHPASS_OPERATOR'),
    flag('--operator-token <file>', 'token of operators, or MESHPASS_OPERATOR_TOKEN', 'MESHPASS_OPERATOR_TOKEN_FILE'),
    flag('--ca-file <file>', "PEM of the broker's CA, instead of the system's", 'MESHPASS_CA_FILE'),
    output(),
  ];
}
