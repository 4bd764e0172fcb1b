/** The access file laid over the mesh: every granted port found, or said why it cannot be granted. */
import { formatSni, grantNamespace } from '@meshpass/identity';
import { didYouMean } from './did-you-mean.ts';
import type { Access, Grant, GrantTarget, Mesh, MeshService, Place } from './model.ts';
import type { AccessFileProblem } from './problem.ts';

type MeshPort = MeshService['ports'][number];

export interface ResolvedTarget {
  readonly target: GrantTarget;
  readonly service: MeshService;
  readonly port: MeshPort;
  /** Full host name. */
  readonly host: string;
  /** By which the mesh gateway routes to exactly this port. */
  readonly sni: string;
}

export interface ResolvedGrant {
  readonly grant: Grant;
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly targets: readonly ResolvedTarget[];
  readonly roles: Grant['kubernetesRoles'];
}

export interface Resolved {
  /** In the order of the file, with only what can be granted. */
  readonly grants: readonly ResolvedGrant[];
  readonly problems: readonly AccessFileProblem[];
}

/** Looks up everything that the file grants. Pure; problems are collected, not thrown. */
export function resolveAccess(access: Access, mesh: Mesh): Resolved {
  const problems: AccessFileProblem[] = [];
  const grants = access.grants.flatMap((grant): ResolvedGrant[] => {
    const namespace = grantNamespace(grant.name);
    if (namespace === mesh.rootNamespace || namespace === mesh.gateway.namespace) {
      problems.push(
        invalid(grant.place, `namespace ${namespace} is the mesh's own: choose another name for the grant`),
      );
      return [];
    }
    if (isServed(namespace, mesh)) {
      problems.push(invalid(grant.place, `namespace ${namespace} runs services: choose another name for the grant`));
      // The grant itself stays, with nothing: its certificates may still live, and the guard must go on denying them.
      return [{ grant, namespace, targets: [], roles: [] }];
    }
    const targets = grant.to.flatMap((target) => {
      const found = resolveTarget(target, mesh);
      if ('sni' in found) return [found];
      problems.push(found);
      return [];
    });
    const roles = grant.kubernetesRoles.filter((role) => {
      const forbidden = role.namespace === mesh.rootNamespace || role.namespace === mesh.gateway.namespace;
      if (forbidden)
        problems.push(invalid(role.place, `${role.namespace} holds the keys of the mesh: no role is given there`));
      return !forbidden;
    });
    return [{ grant, namespace, targets, roles }];
  });
  return { grants, problems };
}

function resolveTarget(target: GrantTarget, mesh: Mesh): ResolvedTarget | AccessFileProblem {
  const name = `${target.service}.${target.namespace}`;
  const { place } = target;
  if (target.namespace === mesh.rootNamespace || target.namespace === mesh.gateway.namespace) {
    // istiod renews certificates for whoever shows one: port 15012 in a workspace would undo every expiry.
    return invalid(place, `${name} belongs to the mesh itself, which no workspace may reach`);
  }
  const service = mesh.services.find((known) => known.name === target.service && known.namespace === target.namespace);
  if (!service) {
    const known = mesh.services.map((other) => `${other.name}.${other.namespace}`);
    return {
      code: 'access_service_unknown',
      place,
      message: `the mesh has no service ${name}${didYouMean(name, known)}`,
    };
  }
  const port = service.ports.find((known) => known.port === target.port);
  if (!port) {
    const known = service.ports.map((other) => other.port).join(', ');
    return {
      code: 'access_port_unknown',
      place,
      message: `${name} has no port ${target.port}: it has ${known || 'none'}`,
    };
  }
  if (port.protocol === 'undeclared') {
    return {
      code: 'access_port_undeclared',
      place,
      message: `${name}:${port.port} declares no protocol, so the client would choose which rules apply: set "appProtocol" (http, http2, grpc or tcp) on this port of the Service`,
    };
  }
  if (port.protocol === 'tcp' && target.allow) {
    return invalid(place, `${name}:${port.port} is TCP, where nobody sees methods and paths: leave "allow" out`);
  }
  if (Object.keys(service.selector).length === 0) {
    // A policy with an empty selector would govern the whole namespace.
    return invalid(place, `${name} selects no pods by label, so no policy can be bound to them`);
  }
  const host = `${target.service}.${target.namespace}.svc.${mesh.clusterDomain}`;
  return { target, service, port, host, sni: formatSni({ host, port: target.port }) };
}

/** A grant's namespace holds ServiceAccounts and nothing else. */
function isServed(namespace: string, mesh: Mesh): boolean {
  return mesh.services.some((service) => service.namespace === namespace);
}

function invalid(place: Place, message: string): AccessFileProblem {
  return { code: 'access_file_invalid', place, message };
}
