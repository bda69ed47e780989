// What a person types to connect with, checked as the engine will check it; for interfaces, which do not see `sync`.
export { checkServerAddress, checkToken } from '../sync/server-address.ts';
