/** web.dev, a service that is granted to no one, and on request others like it. Argument: the name of the service. */
import { listen, sendJson } from './listen.ts';

listen(8080, (request, response) =>
  sendJson(response, 200, { service: process.argv[2] ?? 'web.dev', path: request.url }),
);
