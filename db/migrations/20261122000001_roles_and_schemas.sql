-- migrate:up
-- Who exists in the database, and what each login can become. See db/README.md for the threat model.
do $$
declare
  missing text;
begin
  -- Roles belong to the whole server, so a second database on it finds them already there.
  foreach missing in array array[
    'neurant_owner',   -- owns the schema; nobody logs in as it
    'neurant_router',  -- owns every security definer function
    'neurant_worker',  -- the system, acting for one company
    'authenticated',   -- a member of a company's staff, or an API key (Supabase's name)
    'visitor',         -- a web chat visitor, one conversation
    'anon'             -- nobody (Supabase's name); is granted nothing
  ] loop
    if not exists (select from pg_roles where rolname = missing) then
      execute format('create role %I nologin', missing);
    end if;
  end loop;
  foreach missing in array array['neurant_app', 'neurant_jobs'] loop
    if not exists (select from pg_roles where rolname = missing) then
      execute format('create role %I login noinherit', missing);
    end if;
  end loop;
end $$;

grant authenticated, visitor to neurant_app with inherit false, set true;
grant neurant_worker to neurant_jobs with inherit false, set true;
-- The owner hands its functions over to the router (alter function ... owner to).
grant neurant_router to neurant_owner with inherit false, set true;
-- The migrating login must be able to act as the owner, also where it is no superuser.
grant neurant_owner to current_user with inherit false, set true;

create schema if not exists private;
alter schema private owner to neurant_owner;
create schema if not exists jobs authorization neurant_owner;
create schema if not exists extensions authorization neurant_owner;
create schema if not exists auth authorization neurant_owner;

create extension if not exists vector with schema extensions;
create extension if not exists unaccent with schema extensions;
create extension if not exists pg_trgm with schema extensions;

revoke create on schema public from public;
grant usage, create on schema public to neurant_owner;
grant usage on schema public, private, extensions
  to neurant_owner, neurant_router, neurant_worker, neurant_app, neurant_jobs, authenticated, visitor;
grant create on schema private to neurant_router;
grant usage on schema auth to neurant_owner, neurant_router;
grant usage on schema jobs to neurant_jobs, neurant_router;

-- A new function can be called by nobody until somebody is named.
alter default privileges for role neurant_owner revoke execute on functions from public;
alter default privileges for role neurant_router revoke execute on functions from public;

-- The queue library of the worker finds its tables by name.
alter role neurant_jobs set search_path = jobs, public;

-- migrate:down
