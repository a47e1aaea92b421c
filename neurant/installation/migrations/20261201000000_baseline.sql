-- migrate:up
-- The whole schema, assembled by `make schema` from db/schema/*.sql: read and edit those files.
set local check_function_bodies = off;

-- 01_roles.sql -----------------------------------------------------------------------------------
-- Roles, schemas and extensions: the roles that exist, what each login may become, and what no role
-- may do.
-- The migrating login runs this file. All files after it run as neurant_owner.

-- Roles belong to the whole server, so a second database on the same server finds them already
-- there.
do $$
declare
  missing text;
begin
  foreach missing in array array[
    'neurant_owner',   -- owns the schemas and the tables; nobody logs in as it
    'neurant_router',  -- owns every security definer function
    'neurant_worker',  -- the system, acting for one company
    'authenticated',   -- a member of a company's staff, or an API key (Supabase's name)
    'visitor',         -- a visitor of the web chat, limited to one conversation
    'anon'             -- an unknown caller (Supabase's name); is granted nothing
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

-- The roles that each login may become. A login has no rights of its own on any of our tables.
grant authenticated, visitor to neurant_app with inherit false, set true;
grant neurant_worker to neurant_jobs with inherit false, set true;
-- The owner hands its functions over to the router (90_definers.sql).
grant neurant_router to neurant_owner with inherit false, set true;
-- The migrating login must be able to act as the owner, also where it is not a superuser.
grant neurant_owner to current_user with inherit false, set true;

create schema if not exists private;
alter schema private owner to neurant_owner;
create schema if not exists jobs authorization neurant_owner;
create schema if not exists extensions authorization neurant_owner;
create schema if not exists auth authorization neurant_owner;

create extension if not exists vector with schema extensions;
create extension if not exists unaccent with schema extensions;
create extension if not exists pg_trgm with schema extensions;
create extension if not exists btree_gin with schema extensions;

revoke create on schema public from public;
grant usage, create on schema public to neurant_owner;
grant usage on schema public, private, extensions
  to neurant_owner, neurant_router, neurant_worker, neurant_app, neurant_jobs, authenticated, visitor;
grant create on schema private to neurant_router;
grant usage on schema auth to neurant_owner, neurant_router;
grant usage on schema jobs to neurant_jobs, neurant_router;

-- Nobody may call a new function until a grant names the caller.
alter default privileges for role neurant_owner revoke execute on functions from public;
alter default privileges for role neurant_router revoke execute on functions from public;

-- The job library names its tables without a schema.
alter role neurant_jobs set search_path = jobs, public;

-- PostgreSQL lets every login create temporary tables and large objects. No role of ours needs
-- them, and their contents would be outside every policy and limit.
do $$
declare
  v_function regprocedure;
  v_role text;
begin
  execute format('revoke create, temporary on database %I from public', current_database());
  for v_function in
    select p.oid from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace
      and (p.proname ~ '^lo_' or p.proname in ('loread', 'lowrite'))
  loop
    begin
      execute format('revoke execute on function %s from public', v_function);
    exception when insufficient_privilege then
      raise notice '% stays as it is: %', v_function, sqlerrm;
    end;
  end loop;
  -- A transaction whose client is unreachable holds its locks no longer than this. A setting that
  -- an administrator has chosen stays.
  foreach v_role in array array['neurant_app', 'neurant_jobs'] loop
    if not exists (
      select from pg_catalog.pg_db_role_setting s
      where s.setrole = v_role::regrole and s.setdatabase = 0
        and array_to_string(s.setconfig, ' ') like '%idle_in_transaction_session_timeout=%'
    ) then
      execute format('alter role %I set idle_in_transaction_session_timeout = %L', v_role, '60s');
    end if;
  end loop;
end $$;

set local role neurant_owner;

-- 02_jobs_library.sql ----------------------------------------------------------------------------
-- The queue of general jobs (documents, mail, periodic work), in a schema of its own. The text
-- between the two marks is the schema of procrastinate 3.10.0, exactly as the library prints it
-- (tests/database/test_jobs_schema.py compares the two). Our additions are in 03_jobs.sql.

set local search_path = jobs;

-- procrastinate schema: begin
-- Procrastinate Schema

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;
EXCEPTION
    WHEN OTHERS THEN
        -- On managed PostgreSQL services (e.g. Azure Database for PostgreSQL, Amazon RDS,
        -- Google Cloud SQL), CREATE EXTENSION may fail with various error codes:
        -- insufficient_privilege, feature_not_supported, or provider-specific errors.
        -- Before ignoring, verify the extension actually exists — if it does not exist
        -- and cannot be created, re-raise so the failure is explicit.
        IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'plpgsql') THEN
            RAISE NOTICE 'plpgsql extension already exists, skipping creation.';
        ELSE
            RAISE;
        END IF;
END;
$$;

-- Enums

CREATE TYPE procrastinate_job_status AS ENUM (
    'todo',  -- The job is queued
    'doing',  -- The job has been fetched by a worker
    'succeeded',  -- The job ended successfully
    'failed',  -- The job ended with an error
    'cancelled', -- The job was cancelled
    'aborting',  -- legacy, not used anymore since v3.0.0
    'aborted'  -- The job was aborted
);

CREATE TYPE procrastinate_job_event_type AS ENUM (
    'deferred',  -- Job created, in todo
    'started',  -- todo -> doing
    'deferred_for_retry',  -- doing -> todo
    'failed',  -- doing -> failed
    'succeeded',  -- doing -> succeeded
    'cancelled', -- todo -> cancelled
    'abort_requested', -- not a state transition, but set in a separate field
    'aborted', -- doing -> aborted (only allowed when abort_requested field is set)
    'scheduled', -- not a state transition, but recording when a task is scheduled for
    'retried' -- Manually retried failed job
);

-- Composite Types

CREATE TYPE procrastinate_job_to_defer_v1 AS (
    queue_name character varying,
    task_name character varying,
    priority integer,
    lock text,
    queueing_lock text,
    args jsonb,
    scheduled_at timestamp with time zone
);

-- Tables

CREATE TABLE procrastinate_workers(
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    last_heartbeat timestamp with time zone NOT NULL DEFAULT NOW()
);

CREATE TABLE procrastinate_jobs (
    id bigserial PRIMARY KEY,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb DEFAULT '{}' NOT NULL,
    status procrastinate_job_status DEFAULT 'todo'::procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone NULL,
    attempts integer DEFAULT 0 NOT NULL,
    abort_requested boolean DEFAULT false NOT NULL,
    worker_id bigint REFERENCES procrastinate_workers(id) ON DELETE SET NULL,
    CONSTRAINT check_not_todo_abort_requested CHECK (NOT (status = 'todo' AND abort_requested = true))
);

CREATE TABLE procrastinate_periodic_defers (
    id bigserial PRIMARY KEY,
    task_name character varying(128) NOT NULL,
    defer_timestamp bigint,
    job_id bigint REFERENCES procrastinate_jobs(id) NULL,
    periodic_id character varying(128) NOT NULL DEFAULT '',
    CONSTRAINT procrastinate_periodic_defers_unique UNIQUE (task_name, periodic_id, defer_timestamp)
);

CREATE TABLE procrastinate_events (
    id bigserial PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES procrastinate_jobs ON DELETE CASCADE,
    type procrastinate_job_event_type,
    at timestamp with time zone DEFAULT NOW() NULL
);

-- Constraints & Indices

-- this prevents from having several jobs with the same queueing lock in the "todo" state
CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON procrastinate_jobs (queueing_lock) WHERE status = 'todo';
-- this prevents from having several jobs with the same lock in the "doing" state
CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON procrastinate_jobs (lock) WHERE status = 'doing';

-- Index for select_stalled_jobs_by_heartbeat query
CREATE INDEX idx_procrastinate_jobs_worker_not_null ON procrastinate_jobs(worker_id) WHERE worker_id IS NOT NULL AND status = 'doing'::procrastinate_job_status;

CREATE INDEX procrastinate_jobs_queue_name_idx_v1 ON procrastinate_jobs(queue_name);
CREATE INDEX procrastinate_jobs_id_lock_idx_v1 ON procrastinate_jobs (id, lock) WHERE status = ANY (ARRAY['todo'::procrastinate_job_status, 'doing'::procrastinate_job_status]);
CREATE INDEX procrastinate_jobs_priority_idx_v1 ON procrastinate_jobs(priority desc, id asc) WHERE (status = 'todo'::procrastinate_job_status);

CREATE INDEX procrastinate_events_job_id_fkey_v1 ON procrastinate_events(job_id);

CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON procrastinate_periodic_defers(job_id);

CREATE INDEX idx_procrastinate_workers_last_heartbeat ON procrastinate_workers(last_heartbeat);

-- Functions
CREATE FUNCTION procrastinate_defer_jobs_v1(
    jobs procrastinate_job_to_defer_v1[]
)
    RETURNS bigint[]
    LANGUAGE plpgsql
AS $$
DECLARE
    job_ids bigint[];
BEGIN
    WITH inserted_jobs AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT (job).queue_name,
               (job).task_name,
               (job).priority,
               (job).lock,
               (job).queueing_lock,
               (job).args,
               (job).scheduled_at
        FROM unnest(jobs) AS job
        RETURNING id
    )
    SELECT array_agg(id) FROM inserted_jobs INTO job_ids;

    RETURN job_ids;
END;
$$;

CREATE FUNCTION procrastinate_defer_periodic_job_v2(
    _queue_name character varying,
    _lock character varying,
    _queueing_lock character varying,
    _task_name character varying,
    _priority integer,
    _periodic_id character varying,
    _defer_timestamp bigint,
    _args jsonb
)
    RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
	_job_id bigint;
	_defer_id bigint;
BEGIN
    INSERT
        INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
        VALUES (_task_name, _periodic_id, _defer_timestamp)
        ON CONFLICT DO NOTHING
        RETURNING id into _defer_id;

    IF _defer_id IS NULL THEN
        RETURN NULL;
    END IF;

    UPDATE procrastinate_periodic_defers
        SET job_id = (
            SELECT COALESCE((
                SELECT unnest(procrastinate_defer_jobs_v1(
                    ARRAY[
                        ROW(
                            _queue_name,
                            _task_name,
                            _priority,
                            _lock,
                            _queueing_lock,
                            _args,
                            NULL::timestamptz
                        )
                    ]::procrastinate_job_to_defer_v1[]
                ))
            ), NULL)
        )
        WHERE id = _defer_id
        RETURNING job_id INTO _job_id;

    DELETE
        FROM procrastinate_periodic_defers
        USING (
            SELECT id
            FROM procrastinate_periodic_defers
            WHERE procrastinate_periodic_defers.task_name = _task_name
            AND procrastinate_periodic_defers.periodic_id = _periodic_id
            AND procrastinate_periodic_defers.defer_timestamp < _defer_timestamp
            ORDER BY id
            FOR UPDATE
        ) to_delete
        WHERE procrastinate_periodic_defers.id = to_delete.id;

    RETURN _job_id;
END;
$$;

CREATE FUNCTION procrastinate_fetch_job_v2(
    target_queue_names character varying[],
    p_worker_id bigint
)
    RETURNS procrastinate_jobs
    LANGUAGE plpgsql
AS $$
DECLARE
	found_jobs procrastinate_jobs;
BEGIN
    WITH candidate AS (
        SELECT jobs.*
            FROM procrastinate_jobs AS jobs
            WHERE
                -- reject the job if its lock has earlier or higher priority jobs
                NOT EXISTS (
                    SELECT 1
                        FROM procrastinate_jobs AS other_jobs
                        WHERE
                            jobs.lock IS NOT NULL
                            AND other_jobs.lock = jobs.lock
                            AND (
                                -- job with same lock is already running
                                other_jobs.status = 'doing'
                                OR
                                -- job with same lock is waiting and has higher priority (or same priority but was queued first)
                                (
                                    other_jobs.status = 'todo'
                                    AND (
                                        other_jobs.priority > jobs.priority
                                        OR (
                                        other_jobs.priority = jobs.priority
                                        AND other_jobs.id < jobs.id
                                        )
                                    )
                                )
                            )
                )
                AND jobs.status = 'todo'
                AND (target_queue_names IS NULL OR jobs.queue_name = ANY( target_queue_names ))
                AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
            ORDER BY jobs.priority DESC, jobs.id ASC LIMIT 1
            FOR UPDATE OF jobs SKIP LOCKED
    )
    UPDATE procrastinate_jobs
        SET status = 'doing', worker_id = p_worker_id
        FROM candidate
        WHERE procrastinate_jobs.id = candidate.id
        RETURNING procrastinate_jobs.* INTO found_jobs;

 RETURN found_jobs;
END;
$$;

CREATE FUNCTION procrastinate_finish_job_v1(job_id bigint, end_status procrastinate_job_status, delete_job boolean)
    RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF end_status NOT IN ('succeeded', 'failed', 'aborted') THEN
        RAISE 'End status should be either "succeeded", "failed" or "aborted" (job id: %)', job_id;
    END IF;
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = end_status,
            abort_requested = false,
            attempts = CASE status
                WHEN 'doing' THEN attempts + 1 ELSE attempts
            END
        WHERE id = job_id AND status IN ('todo', 'doing')
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" or "todo" status (job id: %)', job_id;
    END IF;
END;
$$;

CREATE FUNCTION procrastinate_cancel_job_v1(job_id bigint, abort boolean, delete_job boolean)
    RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
    _job_id bigint;
BEGIN
    IF delete_job THEN
        DELETE FROM procrastinate_jobs
        WHERE id = job_id AND status = 'todo'
        RETURNING id INTO _job_id;
    END IF;
    IF _job_id IS NULL THEN
        IF abort THEN
            UPDATE procrastinate_jobs
            SET abort_requested = true,
                status = CASE status
                    WHEN 'todo' THEN 'cancelled'::procrastinate_job_status ELSE status
                END
            WHERE id = job_id AND status IN ('todo', 'doing')
            RETURNING id INTO _job_id;
        ELSE
            UPDATE procrastinate_jobs
            SET status = 'cancelled'::procrastinate_job_status
            WHERE id = job_id AND status = 'todo'
            RETURNING id INTO _job_id;
        END IF;
    END IF;
    RETURN _job_id;
END;
$$;

CREATE FUNCTION procrastinate_retry_job_v1(
    job_id bigint,
    retry_at timestamp with time zone,
    new_priority integer,
    new_queue_name character varying,
    new_lock character varying
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
BEGIN
    SELECT abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status = 'doing'
    FOR UPDATE
    INTO _abort_requested;
    IF _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or not in "doing" status (job id: %)', job_id;
    END IF;
END;
$$;

CREATE FUNCTION procrastinate_retry_job_v2(
    job_id bigint,
    retry_at timestamp with time zone,
    new_priority integer,
    new_queue_name character varying,
    new_lock character varying
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    _job_id bigint;
    _abort_requested boolean;
    _current_status procrastinate_job_status;
BEGIN
    SELECT status, abort_requested FROM procrastinate_jobs
    WHERE id = job_id AND status IN ('doing', 'failed')
    FOR UPDATE
    INTO _current_status, _abort_requested;
    IF _current_status = 'doing' AND _abort_requested THEN
        UPDATE procrastinate_jobs
        SET status = 'failed'::procrastinate_job_status
        WHERE id = job_id AND status = 'doing'
        RETURNING id INTO _job_id;
    ELSE
        UPDATE procrastinate_jobs
        SET status = 'todo'::procrastinate_job_status,
            attempts = attempts + 1,
            scheduled_at = retry_at,
            priority = COALESCE(new_priority, priority),
            queue_name = COALESCE(new_queue_name, queue_name),
            lock = COALESCE(new_lock, lock)
        WHERE id = job_id AND status IN ('doing', 'failed')
        RETURNING id INTO _job_id;
    END IF;

    IF _job_id IS NULL THEN
        RAISE 'Job was not found or has an invalid status to retry (job id: %)', job_id;
    END IF;

END;
$$;

CREATE FUNCTION procrastinate_notify_queue_job_inserted_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'job_inserted', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_notify_queue_abort_job_v1()
RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    payload TEXT;
BEGIN
    SELECT json_build_object('type', 'abort_job_requested', 'job_id', NEW.id)::text INTO payload;
	PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, payload);
	PERFORM pg_notify('procrastinate_any_queue_v1', payload);
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_function_status_events_insert_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'deferred'::procrastinate_job_event_type);
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_function_status_events_update_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    WITH t AS (
        SELECT CASE
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND NEW.status = 'doing'::procrastinate_job_status
                THEN 'started'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'deferred_for_retry'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'failed'::procrastinate_job_status
                THEN 'failed'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'succeeded'::procrastinate_job_status
                THEN 'succeeded'::procrastinate_job_event_type
            WHEN OLD.status = 'todo'::procrastinate_job_status
                AND (
                    NEW.status = 'cancelled'::procrastinate_job_status
                    OR NEW.status = 'failed'::procrastinate_job_status
                    OR NEW.status = 'succeeded'::procrastinate_job_status
                )
                THEN 'cancelled'::procrastinate_job_event_type
            WHEN OLD.status = 'doing'::procrastinate_job_status
                AND NEW.status = 'aborted'::procrastinate_job_status
                THEN 'aborted'::procrastinate_job_event_type
            WHEN OLD.status = 'failed'::procrastinate_job_status
                AND NEW.status = 'todo'::procrastinate_job_status
                THEN 'retried'::procrastinate_job_event_type
            ELSE NULL
        END as event_type
    )
    INSERT INTO procrastinate_events(job_id, type)
        SELECT NEW.id, t.event_type
        FROM t
        WHERE t.event_type IS NOT NULL;
	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_function_scheduled_events_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type, at)
        VALUES (NEW.id, 'scheduled'::procrastinate_job_event_type, NEW.scheduled_at);

	RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_trigger_abort_requested_events_procedure_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO procrastinate_events(job_id, type)
        VALUES (NEW.id, 'abort_requested'::procrastinate_job_event_type);
    RETURN NEW;
END;
$$;

CREATE FUNCTION procrastinate_unlink_periodic_defers_v1()
    RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE procrastinate_periodic_defers
    SET job_id = NULL
    WHERE job_id = OLD.id;
    RETURN OLD;
END;
$$;

CREATE FUNCTION procrastinate_register_worker_v1()
    RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY
    INSERT INTO procrastinate_workers DEFAULT VALUES
    RETURNING procrastinate_workers.id;
END;
$$;

CREATE FUNCTION procrastinate_unregister_worker_v1(worker_id bigint)
    RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM procrastinate_workers
    WHERE id = worker_id;
END;
$$;

CREATE FUNCTION procrastinate_update_heartbeat_v1(worker_id bigint)
    RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE procrastinate_workers
    SET last_heartbeat = NOW()
    WHERE id = worker_id;
END;
$$;

CREATE FUNCTION procrastinate_prune_stalled_workers_v1(seconds_since_heartbeat float)
    RETURNS TABLE(worker_id bigint)
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY
    DELETE FROM procrastinate_workers
    WHERE last_heartbeat < NOW() - (seconds_since_heartbeat || 'SECOND')::INTERVAL
    RETURNING procrastinate_workers.id;
END;
$$;

-- Triggers

CREATE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1
    AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.status = 'todo'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_notify_queue_job_inserted_v1();

CREATE TRIGGER procrastinate_jobs_notify_queue_job_aborted_v1
    AFTER UPDATE OF abort_requested ON procrastinate_jobs
    FOR EACH ROW WHEN ((old.abort_requested = false AND new.abort_requested = true AND new.status = 'doing'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_notify_queue_abort_job_v1();

CREATE TRIGGER procrastinate_trigger_status_events_update_v1
    AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW
    EXECUTE PROCEDURE procrastinate_trigger_function_status_events_update_v1();

CREATE TRIGGER procrastinate_trigger_status_events_insert_v1
    AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.status = 'todo'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_trigger_function_status_events_insert_v1();

CREATE TRIGGER procrastinate_trigger_scheduled_events_v1
    AFTER UPDATE OR INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.scheduled_at IS NOT NULL AND new.status = 'todo'::procrastinate_job_status))
    EXECUTE PROCEDURE procrastinate_trigger_function_scheduled_events_v1();

CREATE TRIGGER procrastinate_trigger_abort_requested_events_v1
    AFTER UPDATE OF abort_requested ON procrastinate_jobs
    FOR EACH ROW WHEN ((new.abort_requested = true))
    EXECUTE PROCEDURE procrastinate_trigger_abort_requested_events_procedure_v1();

CREATE TRIGGER procrastinate_trigger_delete_jobs_v1
    BEFORE DELETE ON procrastinate_jobs
    FOR EACH ROW EXECUTE PROCEDURE procrastinate_unlink_periodic_defers_v1();
-- procrastinate schema: end

set local search_path = '';

-- 03_jobs.sql ------------------------------------------------------------------------------------
-- Our additions to the queue of jobs.

grant select, insert, update, delete on all tables in schema jobs to neurant_jobs;
grant usage on all sequences in schema jobs to neurant_jobs, neurant_router;
grant execute on all functions in schema jobs to neurant_jobs, neurant_router;
grant select, insert on jobs.procrastinate_jobs, jobs.procrastinate_events to neurant_router;

-- The library's functions name their tables without a schema, so the search path of each function
-- is pinned. A newer version of the library that replaces a function removes the pin;
-- tests/database/test_public_linter.py reports it.
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p where p.pronamespace = 'jobs'::regnamespace
  loop
    execute format('alter function %s set search_path = pg_catalog, jobs, pg_temp', v_function);
  end loop;
end $$;

create table jobs.turns (
  lock text primary key,
  served_at timestamptz not null default clock_timestamp()
);
comment on table jobs.turns is
  'The time at which a job of each lock (the jobs of one kind of one company) was last given to a worker. A row older than an hour counts as absent and is removed.';

grant select, insert, update, delete on jobs.turns to neurant_jobs;

create table jobs.worker_deaths (
  job_id bigint primary key references jobs.procrastinate_jobs on delete cascade,
  deaths smallint not null check (deaths > 0)
);
comment on table jobs.worker_deaths is
  'The number of workers that died while they ran each job. After the second death the job becomes a dead letter.';

grant select, insert, update, delete on jobs.worker_deaths to neurant_jobs;

create function jobs.fetch_fair_job(p_queues character varying[], p_worker_id bigint)
returns jobs.procrastinate_jobs
language plpgsql set search_path = pg_catalog, jobs, pg_temp as $$
declare
  v_job procrastinate_jobs;
begin
  with first_of_lock as (
    select distinct on (j.lock) j.id
    from procrastinate_jobs j
    where j.status = 'todo' and (p_queues is null or j.queue_name = any (p_queues))
      and (j.scheduled_at is null or j.scheduled_at <= now())
      and not exists (
        select from procrastinate_jobs running
        where running.lock = j.lock and running.status = 'doing')
    order by j.lock, j.priority desc, j.id
  ), next as (
    select j.id
    from procrastinate_jobs j
    join first_of_lock f on f.id = j.id
    left join turns t on t.lock = j.lock and t.served_at > now() - interval '1 hour'
    where j.status = 'todo'
    order by j.priority desc, t.served_at nulls first, j.id
    limit 1
    for update of j skip locked
  )
  update procrastinate_jobs j set status = 'doing', worker_id = p_worker_id
  from next where j.id = next.id
  returning j.* into v_job;
  if v_job.lock is not null then
    insert into turns (lock) values (v_job.lock)
    on conflict (lock) do update set served_at = excluded.served_at;
    delete from turns t  -- skip locked: two workers must not wait for each other here
    using (select o.lock from turns o where o.served_at < now() - interval '1 hour'
      for update skip locked) old
    where t.lock = old.lock;
  end if;
  return v_job;
end $$;
comment on function jobs.fetch_fair_job(varchar[], bigint) is
  'Gives a worker its next job: among the locks (the jobs of one kind of one company) of which no job runs, the lock that was served longest ago. It replaces procrastinate_fetch_job_v2, which goes by order of arrival, so that the jobs of one company could delay those of all others.';
grant execute on function jobs.fetch_fair_job(varchar[], bigint) to neurant_jobs;

-- The jobs of one lock wait for one another, and the library polls only every five seconds, so the
-- end of a job notifies the workers.
create trigger wake_the_next_of_a_lock after update of status on jobs.procrastinate_jobs
  for each row when (old.status = 'doing' and new.status <> 'doing' and new.lock is not null)
  execute function jobs.procrastinate_notify_queue_job_inserted_v1();

create function jobs.count_worker_death(p_job_id bigint, p_worker_id bigint) returns integer
language plpgsql set search_path = pg_catalog, jobs, pg_temp as $$
declare
  v_deaths integer;
begin
  perform from procrastinate_jobs j
  where j.id = p_job_id and j.status = 'doing' and j.worker_id is not distinct from p_worker_id
  for update;
  if not found then
    return null;  -- another worker was faster
  end if;
  insert into worker_deaths as d (job_id, deaths) values (p_job_id, 1)
  on conflict (job_id) do update set deaths = d.deaths + 1
  returning deaths into v_deaths;
  if v_deaths < 2 then
    perform procrastinate_retry_job_v1(p_job_id, now(), null, null, 'after a worker''s death');
  end if;
  return v_deaths;
end $$;
comment on function jobs.count_worker_death(bigint, bigint) is
  'Counts the death of the worker that ran this job, and returns the job to the queue after the first death only, with a lock that all such jobs share, so that they run one after another and one of them cannot end a worker together with another job twice. Returns the number of deaths, or null if the job no longer belongs to that worker.';
grant execute on function jobs.count_worker_death(bigint, bigint) to neurant_jobs;

create function private.defer_job(p_task text, p_args jsonb) returns bigint
language plpgsql security definer set search_path = jobs, pg_temp as $$
declare
  v_company uuid := private.company_id();
  v_job bigint;
begin
  if v_company is null then
    raise exception 'no company to defer a job for' using errcode = 'insufficient_privilege';
  end if;
  insert into procrastinate_jobs (queue_name, task_name, lock, args)
  values ('default', p_task, v_company || ':' || p_task,
    p_args || jsonb_build_object('company_id', v_company))
  returning id into v_job;
  return v_job;
end $$;
comment on function private.defer_job(text, jsonb) is
  'Adds a job to the queue in the caller''s transaction and stamps the verified company on it; the jobs of one kind of one company run one after another. Job arguments carry ids only. The queue''s triggers need the queue''s schema on the search path. Security definer, called by staff and API keys and the worker for one company, because no role that serves tenants may write the queue.';
grant execute on function private.defer_job(text, jsonb) to authenticated, neurant_worker;

-- 10_types.sql -----------------------------------------------------------------------------------
-- Enum types: those of the founding design, and those that several subjects share.

create type public.subscription_plan_enum as enum ('free', 'starter', 'professional', 'business', 'enterprise');

create type public.subscription_status_enum as enum ('active', 'inactive', 'cancelled', 'past_due', 'trialing');

create type public.user_role_enum as enum ('owner', 'administrador', 'supervisor', 'operador');

create type public.conversation_channel_enum as enum ('whatsapp', 'telegram', 'slack', 'web');

create type public.conversation_status_enum as enum ('active', 'resolved', 'abandoned', 'archived');

create type public.message_type_enum as enum
  ('text', 'image', 'audio', 'video', 'document', 'location', 'contact');

create type public.sender_type_enum as enum ('bot', 'human', 'end_user', 'system');

-- 'unknown': the message may have arrived; 'cancelled': the bot wrote it before an operator took
-- over, and it was not sent.
create type public.message_status_enum as enum
  ('pending', 'sent', 'delivered', 'read', 'failed', 'unknown', 'cancelled');

create type public.processing_status_enum as enum ('pending', 'processing', 'completed', 'failed');

create type public.invitation_status_enum as enum ('pending', 'accepted', 'expired', 'cancelled');

create type public.reaction_type_enum as enum ('thumbs_up', 'thumbs_down', 'helpful', 'not_helpful');

create type public.integration_type_enum as enum
  ('google_docs', 'google_sheets', 'google_calendar', 'google_gmail', 'airtable', 'mysql',
    'postgresql', 'api_webhook');

create type public.auth_type_enum as enum ('api_key', 'oauth2', 'basic_auth', 'bearer_token');

create type public.sync_status_enum as enum ('pending', 'syncing', 'success', 'error');

create type public.integration_log_status_enum as enum ('success', 'error', 'timeout', 'rate_limited');

create type public.audit_action_enum as enum
  ('login', 'logout', 'create', 'read', 'update', 'delete', 'escalate_hitl', 'resolve_hitl',
    'upload_document', 'integration_sync', 'login_denied', 'assign', 'unassign', 'transfer',
    'archive', 'restore', 'export', 'erase', 'denied');

-- 11_shared.sql ----------------------------------------------------------------------------------
-- Text search configurations, and the functions that the checks and triggers of several subjects
-- call.

-- For documents: Spanish stems, matched with or without accents.
create text search configuration private.spanish (copy = pg_catalog.spanish);
alter text search configuration private.spanish
  alter mapping for hword, hword_part, word with extensions.unaccent, spanish_stem;

-- For the inbox's search: like private.spanish, but without stemming, because a search query that
-- is still being typed ends with the beginning of a word, not with a stem.
create text search dictionary private.words (template = pg_catalog.simple, stopwords = spanish);
create text search configuration private.words (copy = pg_catalog.simple);
alter text search configuration private.words
  alter mapping for asciiword, word, numword, asciihword, hword, numhword, hword_asciipart,
    hword_part, hword_numpart, email, url, url_path, host, file
  with extensions.unaccent, private.words;

create function private.is_timezone(p_name text) returns boolean
language plpgsql immutable set search_path = '' as $$
begin
  -- 'foo5' and '<x>-167' are time zones to PostgreSQL; a clock that people live by has a name.
  if p_name !~ '^(UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2})$' then
    return false;
  end if;
  perform pg_catalog.timezone(p_name, timestamptz '2000-01-01 00:00:00+00');
  return true;
exception when invalid_parameter_value then
  return false;
end $$;
grant execute on function private.is_timezone(text) to authenticated, neurant_worker,
  neurant_router;

create function private.update_updated_at_column() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end $$;

create function private.reads_as_label(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select p_text is nfc normalized
    and p_text !~ '^ | $|  '
    -- Control, format, bidirectional and default-ignorable characters, other spaces, separators,
    -- blanks that are letters to Unicode, private use, noncharacters.
    and p_text !~ (('['
    '\u0001-\u001f\u007f-\u00a0\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2'
    '\u115f-\u1160\u1680\u17b4-\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f'
    '\u2800\u3000\u3164\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff'
    '\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a'
    '\U000e0000-\U0010ffff'
    ']') collate pg_catalog."C")
    -- Combining marks: none at the start, three at most in a row.
    and normalize(p_text, nfd) !~ (('^[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]|'
    '[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4}') collate pg_catalog."C")
    -- Something besides punctuation, symbols and pictures.
    and p_text ~ (('[^'
    '\u0020-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9'
    '\u00bb-\u00bf\u0300-\u036f\u2010-\u2bff\u2e00-\u2e7f\u3001-\u3003\u3008-\u3020\u3030'
    '\ufe10-\ufe6f\uff01-\uff0f\uff1a-\uff20\U0001f000-\U0001faff'
    ']') collate pg_catalog."C")
$$;
comment on function private.reads_as_label(text) is
  'Returns whether a text is one visible line with content: NFC, single spaces, no hidden characters, at most a few combining marks in a row. neurant/core/names.py has the same character ranges, and a test compares the two.';
grant execute on function private.reads_as_label(text) to authenticated, neurant_worker,
  neurant_router;

create function private.reads_as_name(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select private.reads_as_label(p_text)
    -- Of the compatibility form, as browsers read an address (UTS 46).
    and replace(normalize(p_text, nfkc), U&'\3002', '.') collate pg_catalog."C"
    !~* ('//|\mwww\d*\.|\m(https?|ftps?|mailto|javascript|data|tel|sms|file|wss?)\s*:'
    '|[^\s.,;()]\.[^\s0-9.,;()/\\?#:]{2,}[/\\?#:]'
    '|[0-9]{1,3}(\.[0-9]{1,3}){3}'
    '|[^\s@]@[^\s@]+\.[^\s@]')
$$;
comment on function private.reads_as_name(text) is
  'Returns whether a text passes reads_as_label and contains no address of a site or a mailbox, because names of companies and people are sent to strangers by mail. A bare domain (Mercado.com) is a legitimate name and passes; the mail prevents programs from turning it into a link.';
grant execute on function private.reads_as_name(text) to authenticated, neurant_worker,
  neurant_router;

create function private.is_https(p_url text) returns boolean
language sql immutable set search_path = '' as $$
  select p_url ~ '^https://[^[:space:]/?#@]+([/?#][^[:space:]]*)?$' and char_length(p_url) <= 2000
$$;
comment on function private.is_https(text) is
  'Returns whether a text is an https address of a picture or page that a browser may be sent to.';
grant execute on function private.is_https(text) to authenticated, neurant_worker, neurant_router;

-- 12_permissions.sql -----------------------------------------------------------------------------
-- Permissions: what each role may do, and which scopes an API key may have.

create table public.permissions (
  name text primary key check (name ~ '^[a-z_]+\.[a-z_]+$'),
  position smallint not null unique,
  owner text not null,
  administrador text not null,
  supervisor text not null,
  operador text not null,
  is_read boolean not null,
  is_narrowable boolean not null default true,
  for_keys text not null default 'by_scope' check (for_keys in ('always', 'by_scope', 'never')),
  check (array[owner, administrador, supervisor, operador]
    <@ '{all,below,juniors,colleagues,bots,own,self,none}'),
  check (operador = 'none' or supervisor <> 'none'),
  check (supervisor = 'none' or administrador <> 'none'),
  check (administrador = 'none' or owner <> 'none')
);
comment on table public.permissions is
  'Platform table: the only source of permissions. Every policy for staff, and every definer that staff call, names one of its rows; the API and the permissions page show it.';
comment on column public.permissions.operador is
  'The scope in which the role has the permission: all (the whole company), below (people of lower roles), juniors (supervisors and operadores), colleagues (people who serve the same bots), bots (assigned bots and the rows that belong to them), own, self, or none. The columns of the other roles use the same words.';
comment on column public.permissions.is_read is
  'Whether the permission changes nothing, so that it also holds in a company that is closed or has not paid.';
comment on column public.permissions.is_narrowable is
  'Whether the permission can be taken away from a single person.';

alter table public.permissions enable row level security, force row level security;
create policy everybody_select on public.permissions for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.permissions to authenticated, neurant_worker, neurant_router;

create function private.permits(
  p public.permissions, p_role public.user_role_enum, p_denied jsonb,
  p_status public.subscription_status_enum)
returns boolean
language sql immutable set search_path = '' as $$
  select 'none' <> case p_role
      when 'owner' then (p).owner
      when 'administrador' then (p).administrador
      when 'supervisor' then (p).supervisor
      else (p).operador end
    and not p_denied ? (p).name
    and ((p).is_read or p_status in ('active', 'trialing', 'past_due'))
$$;
comment on function private.permits(public.permissions, public.user_role_enum, jsonb, public.subscription_status_enum) is
  'Returns whether a role has a permission, given the permissions denied to the person and the status of the company. The policies decide its scope.';
grant execute on function private.permits(public.permissions, public.user_role_enum, jsonb,
  public.subscription_status_enum) to neurant_router;

create function private.check_key_scopes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (
    select from unnest(new.scopes) as s (name)
    where s.name not in (select p.name from public.permissions p where p.for_keys = 'by_scope')
  ) then
    raise exception 'a scope is a permission that keys may have' using errcode = 'check_violation',
      column = 'scopes';
  end if;
  return new;
end $$;
comment on function private.check_key_scopes() is
  'Refuses an API key with a scope that keys may not have. Security definer, called by a trigger, because the rule must see every permission, whoever creates the key.';

create function private.my_permissions() returns setof text
language sql stable security definer set search_path = '' as $$
  with caller as (
    select u.role, u.permissions as denied, c.subscription_status, null::text[] as scopes
    from public.users u
    join public.companies c on c.id = u.company_id
    where private.claims() ->> 'key_id' is null
      and u.company_id = (private.claims() ->> 'company_id')::uuid
      and u.auth_user_id = (private.claims() ->> 'sub')::uuid
      and u.is_active
    union all
    select greatest(k.role, maker.role), maker.permissions, c.subscription_status, k.scopes
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    join public.companies c on c.id = k.company_id
    where k.company_id = (private.claims() ->> 'company_id')::uuid
      and k.id = (private.claims() ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active
  )
  select p.name
  from caller
  cross join public.permissions p
  where current_setting('role') = 'authenticated'
    and (caller.scopes is null or p.for_keys = 'always'
      or p.for_keys = 'by_scope' and p.name = any (caller.scopes))
    and private.permits(p, caller.role, caller.denied, caller.subscription_status)
  order by p.position
$$;
comment on function private.my_permissions() is
  'Returns the names of the permissions that the caller has now: those for which company_id(name) is not null. Security definer, called by staff and API keys, because it reads users, keys and companies that the caller may not read.';
grant execute on function private.my_permissions() to authenticated;

-- 13_callers.sql ---------------------------------------------------------------------------------
-- Callers: how a transaction becomes a principal, and what the policies ask about that principal.

create type private.caller_row as (
  session_id uuid, key_id uuid, auth_user_id uuid, company_id uuid, user_id uuid,
  role public.user_role_enum, first_name text, last_name text, email text, company_name text,
  subscription_status public.subscription_status_enum, requests_per_minute integer, may boolean);
comment on type private.caller_row is
  'The principal of a request, and whether the principal has the permission that the request needs.';

-- Logins. Supabase brings its own auth.users; elsewhere this creates the part of it that we use.
create table if not exists auth.users (
  id uuid primary key default uuidv7(),
  email text,
  encrypted_password text,
  email_confirmed_at timestamptz,
  last_sign_in_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
-- One mailbox, one login: 'Ana@x.co' and 'ana@x.co' are the same address.
create unique index if not exists auth_users_email_key on auth.users (lower(email));

-- Supabase has this function already; elsewhere we create it.
do $$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable set search_path = '' as
      'select (private.claims() ->> ''sub'')::uuid';
  end if;
end $$;

grant select, insert, delete on auth.users to neurant_router;
grant update (encrypted_password, email_confirmed_at, last_sign_in_at, updated_at) on auth.users
  to neurant_router;

create function private.claims() returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
$$;
comment on function private.claims() is
  'Returns the claims that the process set for this transaction. Claims alone are never trusted: private.company_id() verifies them.';
grant execute on function private.claims() to authenticated, visitor, neurant_worker,
  neurant_router;

create function private.company_id() returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_role text := current_setting('role');
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_company uuid;
begin
  if v_role = 'authenticated' then
    select u.company_id into v_company
    from public.users u
    join public.companies c on c.id = u.company_id
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid
      and u.is_active and c.subscription_status <> 'cancelled';
    if v_company is null and v_claims ->> 'key_id' is not null then
      select k.company_id into v_company
      from public.api_keys k
      join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
      join public.companies c on c.id = k.company_id
      where k.company_id = (v_claims ->> 'company_id')::uuid
        and k.id = (v_claims ->> 'key_id')::uuid
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
        and maker.is_active and c.subscription_status <> 'cancelled';
    end if;
  elsif v_role = 'visitor' then
    select v.company_id into v_company
    from public.visitor_sessions v
    join public.companies c on c.id = v.company_id
    where v.token_digest = decode(v_claims ->> 'visitor', 'hex')
      and v.expires_at > now() and c.subscription_status <> 'cancelled';
  elsif v_role = 'neurant_worker' and session_user = 'neurant_jobs' then
    select c.id into v_company
    from public.companies c
    where c.id = (v_claims ->> 'company_id')::uuid and c.subscription_status <> 'cancelled';
  end if;
  return v_company;
end $$;
comment on function private.company_id() is
  'Returns the company of the verified principal, or null; with null no policy shows or accepts a row. Security definer, called by staff and API keys, visitors and the worker for one company, because it reads users and companies that the caller may not read.';
grant execute on function private.company_id() to authenticated, visitor, neurant_worker;

create function private.company_id(p_permission text) returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_company uuid;
begin
  if current_setting('role') <> 'authenticated' then
    return private.company_id();
  end if;
  if v_claims ->> 'key_id' is null then
    select u.company_id into v_company
    from public.users u
    join public.companies c on c.id = u.company_id
    join public.permissions p on p.name = p_permission
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid
      and u.is_active
      and (select private.permits(p, u.role, u.permissions, c.subscription_status));
  else
    select k.company_id into v_company
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    join public.companies c on c.id = k.company_id
    join public.permissions p on p.name = p_permission
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active
      and (p.for_keys = 'always' or p.for_keys = 'by_scope' and p_permission = any (k.scopes))
      and (select private.permits(
        p, greatest(k.role, maker.role), maker.permissions, c.subscription_status));
  end if;
  return v_company;
end $$;
comment on function private.company_id(text) is
  'Returns the company that the principal acts for, if the principal has this permission there; else null. It checks the role, the permissions denied to the person, the scopes of an API key, and the status of the company (a closed or unpaid company allows reading only). For visitors and the worker it equals company_id(). Security definer, called by staff and API keys, visitors and the worker for one company, because it reads tables that the caller may not read.';
grant execute on function private.company_id(text) to authenticated, visitor, neurant_worker;

create function private.user_id() returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_user uuid;
begin
  if current_setting('role') <> 'authenticated' then
    return null;
  end if;
  if v_claims ->> 'key_id' is null then
    select u.id into v_user
    from public.users u
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid and u.is_active;
  else
    select maker.id into v_user
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active;
  end if;
  return v_user;
end $$;
comment on function private.user_id() is
  'Returns the verified staff member, or null. Security definer, called by staff and API keys, visitors and the worker for one company, because it reads users that the caller may not read.';
grant execute on function private.user_id() to authenticated, visitor, neurant_worker;

create function private.user_role() returns public.user_role_enum
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_role public.user_role_enum;
begin
  if current_setting('role') <> 'authenticated' then
    return null;
  end if;
  if v_claims ->> 'key_id' is null then
    select u.role into v_role
    from public.users u
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid and u.is_active;
  else
    select greatest(k.role, maker.role) into v_role  -- the enum runs from the strongest to the weakest
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active;
  end if;
  return v_role;
end $$;
comment on function private.user_role() is
  'Returns the role of the verified staff member or API key, or null. Security definer, called by staff and API keys, visitors and the worker for one company, because it reads users and keys that the caller may not read.';
grant execute on function private.user_role() to authenticated, visitor, neurant_worker;

create function private.sees_all_chatbots() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(private.user_role() in ('owner', 'administrador', 'supervisor'), false)
$$;
grant execute on function private.sees_all_chatbots() to authenticated, visitor, neurant_worker,
  neurant_router;

create function private.manages_company() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(private.user_role() in ('owner', 'administrador'), false)
$$;
grant execute on function private.manages_company() to authenticated, visitor, neurant_worker,
  neurant_router;

create function private.my_chatbot_ids() returns uuid[]
language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.user_id();
begin
  return coalesce((
    select array_agg(o.chatbot_id)
    from public.chatbot_operators o
    where o.company_id = (select (private.claims() ->> 'company_id')::uuid)
      and o.operator_id = v_user and o.is_active), '{}');
end $$;
comment on function private.my_chatbot_ids() is
  'Returns the bots that the operador is assigned to. Security definer, called by staff and API keys, visitors and the worker for one company, because the policies of other tables call it, and must not depend on policies themselves.';
grant execute on function private.my_chatbot_ids() to authenticated, visitor, neurant_worker;

create function private.my_conversation_ids() returns uuid[]
language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.user_id();
begin
  return coalesce((
    select array_agg(x.id)
    from public.conversations x
    where x.company_id = (select (private.claims() ->> 'company_id')::uuid)
      and x.assigned_operator_id = v_user), '{}');
end $$;
comment on function private.my_conversation_ids() is
  'Returns the conversations that are assigned to the caller now. Security definer, called by staff and API keys, visitors and the worker for one company, because the policies of messages call it, and must not depend on policies themselves.';
grant execute on function private.my_conversation_ids() to authenticated, visitor, neurant_worker;

create function private.my_contact_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(k.id), '{}')
  from public.conversations c
  join public.contacts k on k.company_id = c.company_id
    and k.channel_account_id = c.channel_account_id and k.end_user_id = c.end_user_id
  where c.company_id = (select private.company_id('conversations.read'))
    and c.assigned_operator_id = (select private.user_id())
$$;
comment on function private.my_contact_ids() is
  'Returns the contacts of the conversations that are assigned to the caller now. Security definer, called by staff and API keys, because the policy of contacts calls it, and must not depend on policies itself.';
grant execute on function private.my_contact_ids() to authenticated;

create function private.my_archived_conversation_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(c.id), '{}')
  from public.conversations_archived c
  where c.company_id = (select private.company_id('conversations.read'))
    and c.assigned_operator_id = (select private.user_id())
$$;
comment on function private.my_archived_conversation_ids() is
  'Returns the archived conversations that were assigned to the caller. Security definer, called by staff and API keys, because the policies of archived messages call it, and must not depend on policies themselves.';
grant execute on function private.my_archived_conversation_ids() to authenticated;

create function private.visitor_session_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select v.id
  from public.visitor_sessions v
  where current_setting('role') = 'visitor'
    and v.company_id = (select private.company_id())
    and v.token_digest = (select decode(private.claims() ->> 'visitor', 'hex'))
$$;
comment on function private.visitor_session_id() is
  'Returns the session of the verified visitor, or null. Security definer, called by staff and API keys, visitors and the worker for one company, because visitors may not read sessions.';
grant execute on function private.visitor_session_id() to authenticated, visitor, neurant_worker;

create function private.visitor_conversation_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select c.id
  from public.visitor_sessions v
  join public.conversations c
    on c.company_id = v.company_id and c.channel_account_id = v.channel_account_id
    and c.end_user_id = v.id::text
  where v.company_id = (select private.company_id()) and v.id = (select private.visitor_session_id())
  order by c.started_at desc, c.id desc
  limit 1
$$;
comment on function private.visitor_conversation_id() is
  'Returns the one conversation that a visitor may see, the newest of the session. Security definer, called by staff and API keys, visitors and the worker for one company, because the policies of conversations call it, and must not depend on policies themselves.';
grant execute on function private.visitor_conversation_id() to authenticated, visitor,
  neurant_worker;

create function private.visitor_company(p_routing_id text) returns uuid
language sql stable security definer set search_path = '' as $$
  select v.company_id
  from public.visitor_sessions v
  join public.channel_accounts a on a.company_id = v.company_id and a.id = v.channel_account_id
  where v.company_id = (select private.company_id())
    and v.id = (select private.visitor_session_id())
    and a.routing_id = p_routing_id and a.status = 'connected'
$$;
comment on function private.visitor_company(text) is
  'Returns the company of the verified visitor, or null if the session does not belong to this chat. Security definer, called by visitors, because a visitor may read neither table.';
grant execute on function private.visitor_company(text) to visitor;

create function private.caller(
  p_company uuid, p_user uuid, p_key uuid, p_session uuid, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_caller private.caller_row;
begin
  select p_session, k.id, u.auth_user_id, u.company_id, u.id, greatest(u.role, k.role),
    u.first_name::text, u.last_name::text, u.email::text, c.name::text, c.subscription_status,
    plan.requests_per_minute,
    p_permission is null or coalesce((
      select private.permits(p, greatest(u.role, k.role), u.permissions, c.subscription_status)
        and (k.id is null or p.for_keys = 'always'
          or p.for_keys = 'by_scope' and p_permission = any (k.scopes))
      from public.permissions p
      where p.name = p_permission), false)
  into v_caller
  from public.users u
  join public.companies c on c.id = u.company_id
  join public.plans plan on plan.plan = c.subscription_plan
  left join public.api_keys k on k.company_id = u.company_id and k.id = p_key
  where u.company_id = p_company and u.id = p_user and u.is_active;
  if not found then
    return null;
  end if;
  perform set_config('request.jwt.claims', (case when p_key is null
      then jsonb_build_object('sub', v_caller.auth_user_id, 'company_id', p_company)
      else jsonb_build_object('key_id', p_key, 'company_id', p_company) end)::text, true),
    set_config('request.audit', (p_trail || jsonb_strip_nulls(
      jsonb_build_object('session_id', p_session)))::text, true);
  return v_caller;
end $$;
comment on function private.caller(uuid, uuid, uuid, uuid, text, jsonb) is
  'Finds the user, with the key or session, and whether the permission is held; sets the claims and the audit trail of the transaction. Returns null if the user is not active. Security definer, called by other definers only, because it reads users, companies and keys before there is a principal.';

create function private.enter_session(p_token_digest bytea, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_session public.login_sessions;
begin
  select s.* into v_session from public.login_sessions s
  where s.token_digest = p_token_digest and s.expires_at > now();
  -- Often enough to show who is there, seldom enough not to write on every request; and nobody
  -- waits for another request of the same session, or writes to a replica.
  if v_session.last_seen_at < now() - interval '1 minute'
    and current_setting('transaction_read_only') = 'off' then
    update public.login_sessions s set last_seen_at = now()
    where (s.company_id, s.id) in (
      select l.company_id, l.id from public.login_sessions l
      where l.token_digest = p_token_digest for update skip locked);
  end if;
  return private.caller(v_session.company_id, v_session.user_id, null, v_session.id, p_permission,
    p_trail);
end $$;
comment on function private.enter_session(bytea, text, jsonb) is
  'Makes the person of a session the principal of the transaction. Returns null if the session is invalid. Security definer, called by the web process, because the transaction has no principal yet.';
grant execute on function private.enter_session(bytea, text, jsonb) to neurant_app;

create function private.enter_key(p_key_digest bytea, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_key public.api_keys;
begin
  select k.* into v_key from public.api_keys k
  where k.key_digest = p_key_digest and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now());
  if (v_key.last_used_at is null or v_key.last_used_at < now() - interval '1 minute')
    and current_setting('transaction_read_only') = 'off' then
    update public.api_keys k set last_used_at = now()
    where (k.company_id, k.id) in (
      select l.company_id, l.id from public.api_keys l
      where l.key_digest = p_key_digest for update skip locked);
  end if;
  return private.caller(v_key.company_id, v_key.created_by, v_key.id, null, p_permission, p_trail);
end $$;
comment on function private.enter_key(bytea, text, jsonb) is
  'Makes an API key the principal of the transaction. Returns null if the key is invalid. Security definer, called by the web process, because the transaction has no principal yet.';
grant execute on function private.enter_key(bytea, text, jsonb) to neurant_app;

create function private.enter_subject(
  p_auth_user uuid, p_company uuid, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_memberships public.users[];
begin
  select array_agg(u) into v_memberships from public.users u
  where u.auth_user_id = p_auth_user and u.is_active
    and (p_company is null or u.company_id = p_company)
    and private.sso_required(u.company_id, u.id) is null;
  -- Of several companies none is guessed.
  if cardinality(v_memberships) is distinct from 1 then
    return null;
  end if;
  return private.caller(v_memberships[1].company_id, v_memberships[1].id, null, null, p_permission,
    p_trail);
end $$;
comment on function private.enter_subject(uuid, uuid, text, jsonb) is
  'Makes the person of a verified token the principal of the transaction, in the named company or in the person''s only one; else returns null. Security definer, called by the web process, because the transaction has no principal yet.';
grant execute on function private.enter_subject(uuid, uuid, text, jsonb) to neurant_app;

create function private.enter_company(p_token_digest bytea, p_company uuid)
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_session public.auth_sessions;
  v_user public.users;
begin
  select a.* into v_session from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now() for update;
  if v_session.id is null then
    return query select 'ended', null::uuid, null::uuid;
    return;
  end if;
  select u.* into v_user
  from public.users u
  join public.companies c on c.id = u.company_id
  where u.auth_user_id = v_session.auth_user_id and u.is_active
    and (p_company is null or u.company_id = p_company)
    and (v_session.only_company_id is null or u.company_id = v_session.only_company_id)
    and (private.sso_required(u.company_id, u.id) is null
      or exists (
        select from public.login_sessions s
        where s.token_digest = p_token_digest and s.company_id = u.company_id
          and s.user_id = u.id and s.sso_connection_id is not null))
  order by c.subscription_status = 'cancelled', u.last_seen_at desc nulls last, u.created_at
  limit 1;
  if v_user.id is null then
    return query select 'not_found', null::uuid, null::uuid;
    return;
  end if;
  if exists (
    select from public.login_sessions s
    where s.token_digest = p_token_digest and s.company_id = v_user.company_id
      and s.user_id = v_user.id)
  then
    return query select 'entered', v_user.company_id, v_user.id;
    return;
  end if;
  delete from public.login_sessions s where s.token_digest = p_token_digest;
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = v_user.company_id and u.id = v_user.id;
  insert into public.login_sessions
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at, auth_session_id)
  values (v_user.company_id, v_user.id, p_token_digest, v_session.ip_address, v_session.user_agent,
    v_session.expires_at, v_session.id);
  return query select 'entered', v_user.company_id, v_user.id;
end $$;
comment on function private.enter_company(bytea, uuid) is
  'Moves a session into this company (null: the company that the person worked in last) and out of the previous one. Outcome: entered; not_found (no active member, the session is limited to another company, or the company requires its identity provider); or ended. A closed company may be entered, for reading. Security definer, called by the web process, because the person is not yet a principal of the new company.';
grant execute on function private.enter_company(bytea, uuid) to neurant_app;

create function private.note_denied(
  p_permission text, p_operation text, p_resource uuid default null) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.read');
begin
  if v_company is not null then
    perform private.write_audit(v_company, 'denied', 'permissions', p_resource,
      jsonb_strip_nulls(jsonb_build_object(
        'permission', p_permission, 'operation', left(p_operation, 200))));
  end if;
end $$;
comment on function private.note_denied(text, text, uuid) is
  'Writes a denied action and its object into the audit log. Security definer, called by staff and API keys, because no role may insert audit rows directly.';
grant execute on function private.note_denied(text, text, uuid) to authenticated;

create function private.stands_above(p_role public.user_role_enum) returns boolean
language sql stable set search_path = '' as $$
  select coalesce((select private.manages_company())
    and (select private.level((select private.user_role()))) > private.level(p_role), false)
$$;
grant execute on function private.stands_above(public.user_role_enum) to neurant_router;

-- 14_audit.sql -----------------------------------------------------------------------------------
-- Audit: who changed what, without personal values in clear.

create table public.audit_logs (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid,
  user_email varchar(255),
  user_role public.user_role_enum,
  action public.audit_action_enum not null,
  resource_type varchar(100) not null,
  resource_id uuid,
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object'),
  ip_address inet,
  user_agent text,
  session_id varchar(255),
  request_id varchar(255),
  created_at timestamptz not null default clock_timestamp(),
  primary key (company_id, id)
);
comment on table public.audit_logs is
  'Every relevant change, written by triggers. The table has no foreign keys, because its rows outlive the users and objects that they name, and the company. Messages and conversations are their own history and are not repeated here.';
comment on column public.audit_logs.user_id is
  'The user who made the change. For an API key: the user who made the key, with key_id in details.';
comment on column public.audit_logs.user_email is
  'Digest of the e-mail address, keyed by audit_salts, so that erasure can make it unattributable.';
comment on column public.audit_logs.user_role is
  'The role at the time of the change. For an API key: the weaker of the key''s role and its maker''s.';
comment on column public.audit_logs.details is
  'before and after hold the changed columns. Personal columns and free text are stored as digests (audit_salts); hidden lists the changed columns whose values are never shown; by is staff, api_key, worker, system, visitor, web (not signed in yet) or database (changed by hand).';
comment on column public.audit_logs.ip_address is
  'The network only (/24, or /48 for IPv6); details holds the full address as a digest.';
comment on column public.audit_logs.user_agent is
  'Digest of the User-Agent header (audit_salts). It distinguishes one browser from another and reveals nothing else.';
create index audit_logs_newest_idx on public.audit_logs (company_id, created_at desc, id desc);
create index audit_logs_user_idx on public.audit_logs (company_id, user_id, action, created_at desc);
create index audit_logs_resource_idx
  on public.audit_logs (company_id, resource_type, resource_id, created_at desc);
-- Finds all audit rows of one request.
create index audit_logs_request_idx on public.audit_logs (company_id, request_id);

alter table public.audit_logs enable row level security, force row level security;
create policy staff_select on public.audit_logs for select to authenticated
  using (company_id = (select private.company_id('audit.read')));
create policy router_select on public.audit_logs for select to neurant_router using (true);
create policy router_insert on public.audit_logs for insert to neurant_router with check (true);
grant select on public.audit_logs to authenticated;
grant select, insert on public.audit_logs to neurant_router;

create table public.audit_salts (
  company_id uuid not null,
  subject uuid not null,
  salt bytea check (octet_length(salt) = 32),
  shredded_at timestamptz,
  primary key (company_id, subject),
  check ((salt is null) = (shredded_at is not null))
);
comment on table public.audit_salts is
  'The keys of the personal digests of one subject (a user, an invitation, a conversation, or the company itself). Erasure deletes the salt: existing digests of the subject can never be matched again, and no new ones are made.';

alter table public.audit_salts enable row level security, force row level security;
create policy router_select on public.audit_salts for select to neurant_router using (true);
create policy router_insert on public.audit_salts for insert to neurant_router with check (true);
create policy router_update on public.audit_salts for update to neurant_router using (true) with check (true);
grant select, insert on public.audit_salts to neurant_router;
grant update (salt, shredded_at) on public.audit_salts to neurant_router;

create table public.audit_unsealed (
  company_id uuid not null,
  audit_id uuid not null,
  primary key (company_id, audit_id)
);
comment on table public.audit_unsealed is
  'Rows of audit_logs that are not sealed yet. The transaction that writes the audit row also writes this one, so no row is missed, however late it commits.';

alter table public.audit_unsealed enable row level security, force row level security;
create policy router_select on public.audit_unsealed for select to neurant_router using (true);
create policy router_insert on public.audit_unsealed for insert to neurant_router with check (true);
create policy router_delete on public.audit_unsealed for delete to neurant_router using (true);
grant select, insert, delete on public.audit_unsealed to neurant_router;

create function private.personal_digest(p_company uuid, p_subject uuid, p_value text) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_subject uuid := coalesce(p_subject, p_company);
  v_salt bytea;
begin
  if p_value is null then
    return null;
  end if;
  if exists (
    select from public.audit_salts s
    where s.company_id = p_company and s.subject = p_company and s.salt is null
  ) then
    return 'erased';
  end if;
  insert into public.audit_salts (company_id, subject, salt)
  select p_company, v_subject,
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
  where not exists (
    select from public.audit_salts s where s.company_id = p_company and s.subject = v_subject)
  on conflict do nothing;
  select s.salt into v_salt from public.audit_salts s
  where s.company_id = p_company and s.subject = v_subject;
  return coalesce(encode(sha256(v_salt || convert_to(p_value, 'UTF8')), 'hex'), 'erased');
end $$;
comment on function private.personal_digest(uuid, uuid, text) is
  'Returns the digest of a personal value, as the audit log stores it. Security definer, called by other definers only, because only audit and erasure may read the salts.';

create function private.shred_audit_subject(p_company uuid, p_subject uuid) returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.audit_salts (company_id, subject, salt, shredded_at)
  select p_company, s.subject, null, now()
  from (
    select p_subject as subject
    union
    select i.id from public.user_invitations i
    left join public.users u on u.company_id = i.company_id and u.id = p_subject
    where i.company_id = p_company and (i.accepted_by_user_id = p_subject or i.email = u.email)
  ) s
  on conflict (company_id, subject) do update set salt = null, shredded_at = now()
$$;
comment on function private.shred_audit_subject(uuid, uuid) is
  'Deletes the salts of a user (with the user''s invitations), of a conversation, or, if the subject is the company itself, of everybody in it, so that no audit row can be matched to the person again. Security definer, called by other definers only, because only erasure may delete salts.';

create function private.shred_audit_company(p_company uuid) returns void
language sql volatile security definer set search_path = '' as $$
  update public.audit_salts s set salt = null, shredded_at = now()
  where s.company_id = p_company and s.salt is not null;
  select private.shred_audit_subject(p_company, p_company)
$$;
comment on function private.shred_audit_company(uuid) is
  'Deletes every salt of a company that is being erased. Security definer, called by other definers only, because only erasure may delete salts.';

create function private.audit_digest_of(p_subject uuid, p_value text) returns text
language sql stable security definer set search_path = '' as $$
  select encode(sha256(s.salt || convert_to(p_value, 'UTF8')), 'hex')
  from public.audit_salts s
  where s.company_id = (select private.company_id('audit.read')) and s.subject = p_subject
    and (select private.manages_company())
$$;
comment on function private.audit_digest_of(uuid, text) is
  'Returns the digest that the audit log would store for this value of a user, to search user_email and details by it. Only the owner and administradores get it; null if the subject is erased. Security definer, called by staff and API keys, because no role may read the salts.';
grant execute on function private.audit_digest_of(uuid, text) to authenticated;

create function private.write_audit(
  p_company uuid, p_action public.audit_action_enum, p_resource_type text, p_resource_id uuid,
  p_details jsonb, p_actor uuid default null::uuid, p_role public.user_role_enum default
  null::public.user_role_enum, p_trail jsonb default '{}')
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_role text := current_setting('role');
  v_claims jsonb := private.claims();
  v_trail jsonb := p_trail || coalesce(nullif(current_setting('request.audit', true), ''), '{}')::jsonb;
  -- Who founds a company or joins it is in no claims yet: the definer that does it says so.
  v_login uuid := nullif(current_setting('request.actor', true), '')::uuid;
  v_user public.users;
  v_key public.api_keys;
  v_address inet;
  v_details jsonb := p_details;
begin
  -- Looked up by the claims and not by user_id(): the change may be the one that shuts the actor out.
  if p_actor is not null then
    select u.* into v_user from public.users u where u.company_id = p_company and u.id = p_actor;
  elsif v_role = 'authenticated' and (v_claims ->> 'company_id')::uuid is not distinct from p_company then
    if v_claims ->> 'key_id' is null then
      select u.* into v_user from public.users u
      where u.company_id = p_company and u.auth_user_id = (v_claims ->> 'sub')::uuid;
    else
      select k.* into v_key from public.api_keys k
      where k.company_id = p_company and k.id = (v_claims ->> 'key_id')::uuid;
      select u.* into v_user from public.users u
      where u.company_id = p_company and u.id = v_key.created_by;
      v_user.role := greatest(v_key.role, v_user.role);
      v_details := v_details || jsonb_strip_nulls(jsonb_build_object('key_id', v_key.id));
    end if;
  elsif v_role = 'none' and v_login is not null then
    select u.* into v_user from public.users u
    where u.company_id = p_company and u.auth_user_id = v_login;
  end if;
  v_details := v_details || jsonb_build_object('by', case
    when v_key.id is not null then 'api_key'
    when v_user.id is not null then 'staff'
    when v_role = 'neurant_worker' then 'worker'
    when v_role = 'visitor' then 'visitor'
    when session_user = 'neurant_jobs' then 'system'
    when session_user = 'neurant_app' then 'web'
    else 'database' end);
  if pg_input_is_valid(v_trail ->> 'ip', 'inet') then
    v_address := (v_trail ->> 'ip')::inet;
    if v_user.id is not null then
      v_details := v_details || jsonb_build_object(
        'address', private.personal_digest(p_company, v_user.id, host(v_address)));
    end if;
  end if;
  insert into public.audit_logs
    (company_id, user_id, user_email, user_role, action, resource_type, resource_id, details,
      ip_address, user_agent, session_id, request_id)
  values (p_company, v_user.id, private.personal_digest(p_company, v_user.id, v_user.email),
    coalesce(p_role, v_user.role), p_action, p_resource_type, p_resource_id, v_details,
    network(set_masklen(v_address, case family(v_address) when 4 then 24 else 48 end)),
    private.personal_digest(p_company, v_user.id, v_trail ->> 'user_agent'), left(v_trail ->> 'session_id', 255),
    left(v_trail ->> 'request_id', 255));
end $$;
comment on function private.write_audit(uuid, public.audit_action_enum, text, uuid, jsonb, uuid, public.user_role_enum, jsonb) is
  'Writes one audit row; the actor and the client come from the transaction (claims, request.audit). Triggers call it, and definers whose work is more than changed rows (archive, erasure, export). Security definer, called by other definers only, because no role may insert audit rows directly.';

create function private.audit_action(p_table text, p_operation text, p_old jsonb, p_new jsonb)
returns public.audit_action_enum
language sql stable set search_path = '' as $$
  select case
    when p_table = 'login_sessions' and p_operation = 'INSERT' then 'login'
    when p_table = 'login_sessions' and p_operation = 'DELETE'
      and (p_old ->> 'expires_at')::timestamptz > now() then 'logout'
    when p_table = 'hitl_sessions' and p_operation = 'INSERT' then 'escalate_hitl'
    when p_table = 'hitl_sessions' and p_operation = 'UPDATE' and p_old ->> 'ended_at' is null
      and p_new ->> 'ended_at' is not null then 'resolve_hitl'
    when p_table = 'hitl_transfers' and p_operation = 'INSERT' then 'transfer'
    when p_table = 'documents' and p_operation = 'INSERT' then 'upload_document'
    when p_table = 'integrations' and p_operation = 'UPDATE'
      and p_old ->> 'last_sync_at' is distinct from p_new ->> 'last_sync_at' then 'integration_sync'
    when p_table in ('chatbot_operators', 'chatbot_supervisors') then case
      when p_operation = 'DELETE' or p_new ->> 'is_active' = 'false' then 'unassign'
      else 'assign' end
    when p_operation = 'INSERT' then 'create'
    when p_operation = 'DELETE' then 'delete'
    else 'update' end::public.audit_action_enum
$$;
grant execute on function private.audit_action(text, text, jsonb, jsonb) to neurant_router;

create function private.audit_changed_columns(
  p_company uuid, p_subject uuid, p_row jsonb, p_other jsonb, p_shown text[], p_digest text[])
returns jsonb
language sql volatile security definer set search_path = '' as $$
  select coalesce(jsonb_object_agg(c.key, case
      when c.key = any (p_shown) then c.value
      else to_jsonb(private.personal_digest(p_company, p_subject, c.value #>> '{}')) end), '{}')
  from jsonb_each(p_row) c
  where c.value is distinct from coalesce(p_other -> c.key, 'null')
    and (c.key = any (p_shown) or c.key = any (p_digest))
$$;
comment on function private.audit_changed_columns(uuid, uuid, jsonb, jsonb, text[], text[]) is
  'Returns, for one side of a change, the columns that differ from the other side, as the audit log stores them. Security definer, called by other definers only, because it makes digests, which need the salts.';

create function private.audit_change() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_old jsonb := case when tg_op = 'INSERT' then '{}' else to_jsonb(old) end;
  v_new jsonb := case when tg_op = 'DELETE' then '{}' else to_jsonb(new) end;
  v_row jsonb := case when tg_op = 'DELETE' then v_old else v_new end;
  v_company uuid := v_row ->> case tg_table_name when 'companies' then 'id' else 'company_id' end;
  v_subject uuid := v_row ->> tg_argv[0];
  v_before jsonb;
  v_after jsonb;
  v_hidden jsonb;
  v_actor uuid;
begin
  -- A takeover that has ended comes and goes with its conversation; the archive keeps the manifest.
  if tg_table_name in ('hitl_sessions', 'hitl_transfers') and tg_op <> 'UPDATE'
    and (v_row ->> 'ended_at' is not null or v_row ->> 'decided_at' is not null) then
    return null;
  end if;
  v_before := private.audit_changed_columns(
    v_company, v_subject, v_old, v_new, tg_argv[1]::text[], tg_argv[2]::text[]);
  v_after := private.audit_changed_columns(
    v_company, v_subject, v_new, v_old, tg_argv[1]::text[], tg_argv[2]::text[]);
  select jsonb_agg(h order by h) into v_hidden from unnest(tg_argv[3]::text[]) h
  where coalesce(v_old -> h, 'null') is distinct from coalesce(v_new -> h, 'null');
  if tg_table_name = 'login_sessions' and (tg_op = 'INSERT'
    or tg_op = 'DELETE' and session_user = 'neurant_app' and current_setting('role') = 'none') then
    v_actor := v_row ->> 'user_id';  -- who signs in or out is nobody to the database
  end if;
  perform private.write_audit(
    v_company, private.audit_action(tg_table_name, tg_op, v_old, v_new), tg_table_name,
    (v_row ->> 'id')::uuid,
    jsonb_build_object('before', v_before, 'after', v_after)
      || jsonb_strip_nulls(jsonb_build_object('hidden', v_hidden)),
    p_actor => v_actor,
    p_role => case when tg_table_name = 'users' and tg_op = 'UPDATE'
      and private.claims() ->> 'sub' = v_old ->> 'auth_user_id'
      then (v_old ->> 'role')::public.user_role_enum end,
    p_trail => case when tg_table_name = 'login_sessions' then jsonb_strip_nulls(jsonb_build_object(
      'ip', v_row -> 'ip_address', 'user_agent', v_row -> 'user_agent', 'session_id', v_row -> 'id'))
      else '{}' end);
  return null;
end $$;
comment on function private.audit_change() is
  'Writes an audit row for a change. Trigger arguments: the column that names the subject of the personal columns; the columns that are shown, digested, hidden (only the fact of a change is recorded) and left out (a change of these alone is not recorded). Security definer, called by a trigger, because no role may insert audit rows directly.';

create function private.audit_table(
  p_table regclass, p_subject text, p_shown text[], p_digest text[], p_hidden text[], p_left_out text[])
returns void
language plpgsql set search_path = '' as $$
declare
  v_call text := format('private.audit_change(%L, %L, %L, %L, %L)',
    p_subject, p_shown, p_digest, p_hidden, p_left_out);
  v_changed text := (
    select string_agg(format('old.%1$I is distinct from new.%1$I', a.attname), ' or ' order by a.attnum)
    from pg_catalog.pg_attribute a
    where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
      and a.attname = any (p_shown || p_digest || p_hidden));
begin
  execute format('create or replace trigger audit_rows after insert or delete on %s
    for each row execute function %s', p_table, v_call);
  execute format('create or replace trigger audit_changes after update on %s
    for each row when (%s) execute function %s', p_table, v_changed, v_call);
end $$;
comment on function private.audit_table(regclass, text, text[], text[], text[], text[]) is
  'For migrations: audits every change of this table from now on. A test requires each column to be in one of the lists.';

create function private.audit_column(p_table regclass, p_column text, p_treatment text) returns void
language plpgsql set search_path = '' as $$
declare
  v_lists text[] := (
    select string_to_array(encode(t.tgargs, 'escape'), '\000')
    from pg_catalog.pg_trigger t where t.tgrelid = p_table and t.tgname = 'audit_rows');
  v_treatments text[] := '{subject,shown,digest,hidden,left_out}';
begin
  for i in 2 .. 5 loop
    v_lists[i] := array_remove(v_lists[i]::text[], p_column)
      || case when v_treatments[i] = p_treatment then array[p_column] else '{}' end;
  end loop;
  perform private.audit_table(p_table, v_lists[1], v_lists[2]::text[], v_lists[3]::text[],
    v_lists[4]::text[], v_lists[5]::text[]);
end $$;
comment on function private.audit_column(regclass, text, text) is
  'For migrations that add a column to an audited table: p_treatment is shown (numbers, times, ids, values of a short list), digest (personal data and free text), hidden (secrets) or left_out (counters).';

create function private.refuse_change() returns trigger
language plpgsql set search_path = '' as $$
begin
  raise exception '% is only appended to', tg_table_name using errcode = 'insufficient_privilege';
end $$;

create trigger refuse_change before update or delete or truncate on public.audit_logs
  for each statement execute function private.refuse_change();

create function private.note_export(p_what text, p_format text) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.export');
begin
  if v_company is null then
    return false;
  end if;
  perform private.write_audit(v_company, 'export', p_what, null,
    jsonb_build_object('format', p_format));
  return true;
end $$;
comment on function private.note_export(text, text) is
  'Writes into the audit log that the caller begins an export. Returns false if the caller lacks the permission. Security definer, called by staff and API keys, because no role may insert audit rows directly.';
grant execute on function private.note_export(text, text) to authenticated;

-- 15_audit_chain.sql -----------------------------------------------------------------------------
-- The audit chain: seals over audit rows, and chain heads that are exported.

create table public.audit_seals (
  company_id uuid not null,
  seq bigint not null check (seq > 0),
  audit_id uuid not null,
  row_digest bytea not null check (octet_length(row_digest) = 32),
  chain_hash bytea not null check (octet_length(chain_hash) = 32),
  sealed_at timestamptz not null default now(),
  primary key (company_id, seq),
  unique (company_id, audit_id)
);
comment on column public.audit_seals.chain_hash is
  'SHA-256 of the previous chain_hash (for the company''s first seal: private.audit_genesis) followed by row_digest.';

alter table public.audit_seals enable row level security, force row level security;
create policy staff_select on public.audit_seals for select to authenticated
  using (company_id = (select private.company_id('audit.read')));
create policy router_insert on public.audit_seals for insert to neurant_router with check (true);
grant select on public.audit_seals to authenticated;
grant insert on public.audit_seals to neurant_router;

create trigger refuse_change before update or delete or truncate on public.audit_seals
  for each statement execute function private.refuse_change();

create table public.audit_chains (
  company_id uuid primary key,
  seq bigint not null default 0 check (seq >= 0),
  chain_hash bytea not null check (octet_length(chain_hash) = 32),
  sealed_at timestamptz,
  exported_seq bigint not null default 0 check (exported_seq <= seq)
);
comment on table public.audit_chains is
  'The end of each company''s chain, and the sequence number up to which its signed head has been exported.';
create index audit_chains_unexported_idx on public.audit_chains (company_id) where seq > exported_seq;

alter table public.audit_chains enable row level security, force row level security;
create policy staff_select on public.audit_chains for select to authenticated
  using (company_id = (select private.company_id('audit.read')));
create policy router_select on public.audit_chains for select to neurant_router using (true);
create policy router_insert on public.audit_chains for insert to neurant_router with check (true);
create policy router_update on public.audit_chains for update to neurant_router using (true) with check (true);
grant select on public.audit_chains to authenticated;
grant select, insert on public.audit_chains to neurant_router;
grant update (seq, chain_hash, sealed_at, exported_seq) on public.audit_chains to neurant_router;

create function private.audit_text(variadic p_fields text[]) returns text
language sql immutable set search_path = '' as $$
  select string_agg(
    case when f.value is null then '-' else octet_length(f.value) || ':' || f.value end,
    ',' order by f.place)
  from unnest(p_fields) with ordinality f (value, place)
$$;
comment on function private.audit_text(text[]) is
  'Encodes fields as one text without ambiguity: each field is preceded by its length in bytes; null is "-".';
grant execute on function private.audit_text(text[]) to neurant_router;

create function private.audit_digest(p_row public.audit_logs) returns bytea
language sql stable set search_path = '' as $$
  select sha256(convert_to(private.audit_text(
    'neurant-audit-1', p_row.company_id::text, p_row.id::text, p_row.user_id::text, p_row.user_email,
    p_row.user_role::text, p_row.action::text, p_row.resource_type, p_row.resource_id::text,
    p_row.details::text, p_row.ip_address::text, p_row.user_agent, p_row.session_id,
    p_row.request_id, (extract(epoch from p_row.created_at) * 1000000)::bigint::text), 'UTF8'))
$$;
comment on function private.audit_digest(public.audit_logs) is
  'Returns the SHA-256 of the row''s canonical text. neurant/audit computes the same digest independently.';
grant execute on function private.audit_digest(public.audit_logs) to neurant_router;

create function private.audit_genesis(p_company uuid) returns bytea
language sql immutable set search_path = '' as $$
  select sha256(convert_to('neurant-audit-1:' || p_company, 'UTF8'))
$$;
grant execute on function private.audit_genesis(uuid) to neurant_router;

create function private.await_seal() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.audit_unsealed (company_id, audit_id) values (new.company_id, new.id);
  return null;
end $$;
comment on function private.await_seal() is
  'Notes a new audit row as not sealed. Security definer, called by a trigger, because no role may write the list of unsealed rows directly.';

create trigger await_seal after insert on public.audit_logs
  for each row execute function private.await_seal();

create function private.seal_audit(p_limit integer default 1000) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_chain public.audit_chains;
  v_row record;
  v_sealed integer := 0;
begin
  insert into public.audit_chains (company_id, chain_hash)
  select distinct u.company_id, private.audit_genesis(u.company_id)
  from public.audit_unsealed u
  where not exists (select from public.audit_chains c where c.company_id = u.company_id)
  order by u.company_id
  on conflict do nothing;
  select c.* into v_chain from public.audit_chains c
  where exists (select from public.audit_unsealed u where u.company_id = c.company_id)
  order by c.sealed_at nulls first, c.company_id
  limit 1 for update skip locked;
  if not found then
    return 0;
  end if;
  for v_row in
    with sealed as (
      delete from public.audit_unsealed u
      where u.company_id = v_chain.company_id and u.audit_id = any (array(
        select w.audit_id from public.audit_unsealed w
        where w.company_id = v_chain.company_id order by w.audit_id limit p_limit))
      returning u.audit_id
    )
    select a.id, private.audit_digest(a) as digest
    from public.audit_logs a
    where a.company_id = v_chain.company_id and a.id in (select s.audit_id from sealed s)
    order by a.id
  loop
    v_chain.seq := v_chain.seq + 1;
    v_chain.chain_hash := sha256(v_chain.chain_hash || v_row.digest);
    insert into public.audit_seals (company_id, seq, audit_id, row_digest, chain_hash)
    values (v_chain.company_id, v_chain.seq, v_row.id, v_row.digest, v_chain.chain_hash);
    v_sealed := v_sealed + 1;
  end loop;
  update public.audit_chains c
  set seq = v_chain.seq, chain_hash = v_chain.chain_hash, sealed_at = clock_timestamp()
  where c.company_id = v_chain.company_id;
  return v_sealed;
end $$;
comment on function private.seal_audit(integer) is
  'Seals at most p_limit rows of the company that has waited longest and that no other process is sealing; returns the number (0: nothing to do). The order is that in which rows become visible here, so a row that commits late comes later and leaves no gap. Security definer, called by the worker process, because no role may write seals directly.';
grant execute on function private.seal_audit(integer) to neurant_jobs;

create function private.unexported_audit_heads(p_limit integer default 1000)
returns table (company_id uuid, seq bigint, chain_hash bytea, sealed_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select c.company_id, c.seq, c.chain_hash, c.sealed_at
  from public.audit_chains c where c.seq > c.exported_seq order by c.company_id limit p_limit
$$;
comment on function private.unexported_audit_heads(integer) is
  'Returns the chain heads that are to be signed and stored outside the database. Security definer, called by the worker process, because the worker''s login exports for all companies and may read none.';
grant execute on function private.unexported_audit_heads(integer) to neurant_jobs;

create function private.note_audit_export(p_companies uuid[], p_seqs bigint[]) returns void
language sql volatile security definer set search_path = '' as $$
  update public.audit_chains c set exported_seq = greatest(c.exported_seq, e.seq)
  from unnest(p_companies, p_seqs) e (company_id, seq)
  where c.company_id = e.company_id and e.seq <= c.seq
$$;
comment on function private.note_audit_export(uuid[], bigint[]) is
  'Notes that these chain heads have been exported. Security definer, called by the worker process, because the worker''s login exports for all companies and may read none.';
grant execute on function private.note_audit_export(uuid[], bigint[]) to neurant_jobs;

-- 20_companies.sql -------------------------------------------------------------------------------
-- Companies: the tenants.

create table public.industries (
  industry varchar(100) primary key check (industry ~ '^[a-z]+(_[a-z]+)*$'),
  position smallint not null unique
);
comment on table public.industries is
  'Platform table: the industries that a company may choose, in the order in which they are offered. Their names are texts of the catalogue (industries.<industry>).';

alter table public.industries enable row level security, force row level security;
create policy everybody_select on public.industries for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.industries to authenticated, neurant_worker, neurant_router;

create table public.companies (
  id uuid primary key default uuidv7(),
  name varchar(255) not null check (btrim(name) <> ''),
  slug varchar(100) not null unique check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  phone varchar(50),
  industry varchar(100),
  size text
    constraint companies_size_check check (size in ('1', '2-10', '11-50', '51-200', '201-1000', '1001+')),
  website varchar(255),
  logo_url text,
  timezone varchar(50) not null default 'America/Bogota' check (private.is_timezone(timezone)),
  subscription_plan public.subscription_plan_enum not null default 'free',
  subscription_status public.subscription_status_enum not null default 'active',
  trial_started_at timestamptz,
  subscription_started_at timestamptz,
  subscription_ends_at timestamptz,
  status_before_closing public.subscription_status_enum,
  ends_before_closing timestamptz,
  monthly_message_limit integer not null default 500 check (monthly_message_limit >= -1),
  monthly_message_count integer not null default 0 check (monthly_message_count >= 0),
  monthly_reset_date date not null default current_date,
  monthly_anchor_day smallint not null
    check (monthly_anchor_day between 1 and 31),
  max_chatbots integer not null default 1 check (max_chatbots >= -1),
  max_users integer not null default 2 check (max_users >= -1),
  max_integrations integer not null default 0 check (max_integrations >= -1),
  max_document_characters integer not null default 0 check (max_document_characters >= -1),
  max_storage_mb integer not null default 0 check (max_storage_mb >= -1),
  max_hitl_concurrent integer not null default 0 check (max_hitl_concurrent >= -1),
  visitor_conversations_per_hour integer,
  current_user_count integer not null default 0 check (current_user_count >= 0),
  current_chatbot_count integer not null default 0 check (current_chatbot_count >= 0),
  current_integration_count integer not null default 0 check (current_integration_count >= 0),
  current_document_characters bigint not null default 0
    check (current_document_characters >= 0),
  current_storage_bytes bigint not null default 0 check (current_storage_bytes >= 0),
  current_hitl_count integer not null default 0 check (current_hitl_count >= 0),
  plan_changed_at timestamptz,
  plan_change_scheduled_at timestamptz,
  next_plan public.subscription_plan_enum,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid references auth.users (id) on delete set null,
  constraint companies_plan_change_check
    check ((next_plan is null) = (plan_change_scheduled_at is null)),
  constraint companies_reset_date_check check (isfinite(monthly_reset_date)),
  constraint companies_subscription_order_check
    check (subscription_ends_at >= subscription_started_at),
  constraint companies_address_check check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  constraint companies_logo_check check (private.is_https(logo_url)),
  constraint companies_website_check check (website ~ '^https?://[^[:space:]]+$'),
  constraint companies_industry_fkey
    foreign key (industry) references public.industries (industry),
  constraint companies_visitor_conversations_check
    check (visitor_conversations_per_hour between 1 and 100000),
  constraint companies_name_reads_check
    check (private.reads_as_name(name))
);
comment on column public.companies.size is
  'The number of people in the company, as stated at sign-up.';
comment on column public.companies.trial_started_at is
  'Set once: a company that has tried a plan pays for the next one.';
comment on column public.companies.subscription_ends_at is
  'When the current status ends: the trial, the paid period of a cancelled subscription, or the 14 days of past_due. For inactive and cancelled: since when. Null: no end is set.';
comment on column public.companies.status_before_closing is
  'The status that reopening restores, together with ends_before_closing; null while the company is open.';
comment on column public.companies.monthly_message_limit is
  'Maximum of bot messages a month; -1: unlimited. It is never exceeded, not even by one (private.track_message_usage).';
comment on column public.companies.monthly_message_count is
  'Bot messages of the current month as of the last drain (private.drain_message_usage, every minute). private.message_usage returns the number that is exact at commit.';
comment on column public.companies.monthly_reset_date is
  'First day of the current month, in the company''s timezone.';
comment on column public.companies.monthly_anchor_day is
  'Day of the month on which a new month begins. 31 stays 31 after a February.';
comment on column public.companies.max_users is
  'Maximum of active users and pending invitations together, including the owner; -1: unlimited.';
comment on column public.companies.max_storage_mb is
  'Maximum in units of 1,048,576 bytes, as for every size that the product shows; -1: unlimited.';
comment on column public.companies.max_hitl_concurrent is
  'Maximum of conversations attended by people at one time; others may wait in the queue. 0: no people at all, and the bot hands nothing over; -1: unlimited.';
comment on column public.companies.visitor_conversations_per_hour is
  'Maximum of new conversations of web chat visitors in an hour. Null: the number of the company''s plan.';
comment on column public.companies.current_user_count is
  'Seats in use: active users and pending invitations, so that every invitation that was sent can be accepted. Exact at commit. An expired invitation counts until it is marked as expired, which happens every minute and before a seat is refused. Maintained by triggers.';
comment on column public.companies.current_chatbot_count is
  'Chatbots that are not retired. Exact at commit; maintained by a trigger, never written by hand.';
comment on column public.companies.current_integration_count is
  'Active integrations. Exact at commit; maintained by a trigger.';
comment on column public.companies.current_document_characters is
  'Characters of the documents that are not retired, counted from the start of their reading. Exact at commit; maintained by a trigger.';
comment on column public.companies.current_storage_bytes is
  'Bytes of the files of documents that are not retired. Exact at commit; maintained by a trigger.';
comment on column public.companies.current_hitl_count is
  'Conversations that a person attends now (hitl_sessions with status active; waiting ones do not count). Exact at commit; maintained by a trigger.';
comment on column public.companies.next_plan is
  'A smaller plan that begins at plan_change_scheduled_at, or later, when the company''s use fits in it.';
create index companies_created_by_idx on public.companies (created_by);
create index companies_plan_change_idx on public.companies (plan_change_scheduled_at)
  where next_plan is not null;
create index companies_industry_idx on public.companies (industry) where industry is not null;

alter table public.companies enable row level security, force row level security;
create policy staff_select on public.companies for select to authenticated
  using (id = (select private.company_id('company.read')));
create policy staff_update on public.companies for update to authenticated
  using (id = (select private.company_id('company.edit')))
  with check (id = (select private.company_id('company.edit')));
create policy worker_select on public.companies for select to neurant_worker
  using (id = (select private.company_id()));
-- Policies of the router, which owns the security definer functions: exactly the tables and
-- commands that these functions need.
create policy router_select on public.companies for select to neurant_router using (true);
create policy router_insert on public.companies for insert to neurant_router with check (true);
create policy router_update on public.companies for update to neurant_router
  using (true) with check (true);
grant select on public.companies to authenticated, neurant_worker;
grant update (name, email, phone, industry, size, website, logo_url, timezone,
  visitor_conversations_per_hour) on public.companies to authenticated;
grant select, insert on public.companies to neurant_router;
grant update (phone, industry, size, website, subscription_plan, subscription_status,
  trial_started_at, subscription_started_at, subscription_ends_at, status_before_closing,
  ends_before_closing, monthly_message_limit, monthly_message_count, monthly_reset_date,
  max_chatbots, max_users, max_integrations, max_document_characters, max_storage_mb,
  max_hitl_concurrent, current_user_count, current_chatbot_count, current_integration_count,
  current_document_characters, current_storage_bytes, current_hitl_count, plan_changed_at,
  plan_change_scheduled_at, next_plan, updated_at) on public.companies to neurant_router;

select private.audit_table('public.companies', 'id',
  '{timezone,subscription_plan,subscription_status,subscription_started_at,
    subscription_ends_at,monthly_message_limit,monthly_reset_date,monthly_anchor_day,
    max_chatbots,max_users,max_integrations,max_document_characters,max_storage_mb,
    max_hitl_concurrent,plan_changed_at,plan_change_scheduled_at,next_plan,created_by,
    status_before_closing,ends_before_closing,size,trial_started_at,
    visitor_conversations_per_hour}',
  '{name,slug,industry,website,logo_url,email,phone}',
  '{}',
  '{monthly_message_count,current_user_count,current_chatbot_count,
    current_integration_count,current_document_characters,current_storage_bytes,
    current_hitl_count,created_at,updated_at}');

create trigger set_updated_at before update on public.companies
  for each row execute function private.update_updated_at_column();

create table public.company_keys (
  company_id uuid primary key references public.companies (id),
  wrapped_key bytea not null,
  created_at timestamptz not null default now()
);
comment on table public.company_keys is
  'The AES-256 key of each company, wrapped by the master key, which is never in the database.';

alter table public.company_keys enable row level security, force row level security;
-- Staff who may store a secret of the company read its key; the key is created before it is needed.
create policy staff_select on public.company_keys for select to authenticated
  using (company_id = (select private.company_id('company.read'))
    and (select private.manages_company()));
create policy staff_insert on public.company_keys for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.manages_company()));
create policy worker_select on public.company_keys for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.company_keys for select to neurant_router using (true);
grant select on public.company_keys to authenticated, neurant_worker, neurant_router;
grant insert (company_id, wrapped_key) on public.company_keys to authenticated;

select private.audit_table('public.company_keys', 'company_id',
  '{}',
  '{}',
  '{wrapped_key}',
  '{created_at}');

create table private.master_key_print (
  is_there boolean primary key default true check (is_there),
  fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),
  noted_at timestamptz not null default now()
);
comment on table private.master_key_print is
  'One row: an HMAC made with the master key of the first process that had one. It decrypts nothing; it detects a process with another key.';

alter table private.master_key_print enable row level security, force row level security;
create policy router_select on private.master_key_print for select to neurant_router using (true);
create policy router_insert on private.master_key_print for insert to neurant_router with check (true);
grant select, insert on private.master_key_print to neurant_router;

create function private.list_industries() returns table (industry text)
language sql stable security definer set search_path = '' as $$
  select i.industry from public.industries i order by i.position
$$;
comment on function private.list_industries() is
  'Returns the industries in their order. Security definer, called by staff and API keys and the web process, because a person who signs up has no company, so no policy could admit the person.';
grant execute on function private.list_industries() to authenticated, neurant_app;

create function private.note_closing() returns trigger
language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' and old.subscription_status <> 'cancelled' then
    new.status_before_closing := old.subscription_status;
    new.ends_before_closing := old.subscription_ends_at;
  end if;
  -- The end of a trial that was over long ago is not when the company was closed.
  if new.subscription_ends_at is null or tg_op = 'UPDATE'
    and old.subscription_status <> 'cancelled'
    and new.subscription_ends_at is not distinct from old.subscription_ends_at then
    new.subscription_ends_at := now();
  end if;
  return new;
end $$;
comment on function private.note_closing() is
  'Notes when a company was closed and its status before, whichever statement closed it.';

create trigger note_closing before insert or update of subscription_status, subscription_ends_at
  on public.companies
  for each row when (new.subscription_status = 'cancelled')
  execute function private.note_closing();

create function private.close_company() returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.close');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  update public.companies c
  set subscription_status = 'cancelled', subscription_ends_at = now(), next_plan = null,
    plan_change_scheduled_at = null
  where c.id = v_company and c.subscription_status <> 'cancelled';
  if not found then
    return 'closed_before';
  end if;
  update public.plan_requests r set status = 'withdrawn', decided_at = now()
  where r.company_id = v_company and r.status = 'pending';
  perform private.notify_users(v_company, '{owner,administrador}', 'company_closed',
    jsonb_build_object('at', now() + interval '30 days'));
  return 'closed';
end $$;
comment on function private.close_company() is
  'The owner closes the company. For 30 days the staff may read and export, and the owner may reopen it; channels accept nothing, and nothing is deleted. Outcome: closed, closed_before or forbidden. Security definer, called by staff and API keys, because no role may write a company''s status directly.';
grant execute on function private.close_company() to authenticated;

create function private.reopen_company(p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('company.close')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status <> 'cancelled' then
    return 'not_closed';
  elsif v_company.subscription_ends_at <= p_now - interval '30 days' then
    return 'too_late';
  end if;
  update public.companies c
  set subscription_status = coalesce(v_company.status_before_closing, 'inactive'),
    subscription_ends_at = case when v_company.status_before_closing is null then p_now
      else v_company.ends_before_closing end,
    status_before_closing = null, ends_before_closing = null
  where c.id = v_company.id;
  perform private.drop_stale_work(v_company.id, p_now);
  perform private.notify_users(v_company.id, '{owner,administrador}', 'company_reopened', '{}');
  return 'reopened';
end $$;
comment on function private.reopen_company(timestamptz) is
  'The owner reopens a closed company within 30 days, with the status it had; a trial or paid period that ended meanwhile ends within a minute. Outcome: reopened, not_closed, too_late or forbidden. Security definer, called by staff and API keys, because no role may write a company''s status directly.';
grant execute on function private.reopen_company(timestamptz) to authenticated;

create function private.is_master_key(p_fingerprint text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  if not exists (select from private.master_key_print) then
    insert into private.master_key_print (fingerprint) values (p_fingerprint) on conflict do nothing;
  end if;
  return exists (select from private.master_key_print m where m.fingerprint = p_fingerprint);
end $$;
comment on function private.is_master_key(text) is
  'Returns whether this is the fingerprint of the master key that protects the secrets; the first fingerprint ever passed is recorded as the right one. Security definer, called by the web process and the worker process, because a process acts for no company.';
grant execute on function private.is_master_key(text) to neurant_app, neurant_jobs;

-- 21_people.sql ----------------------------------------------------------------------------------
-- People: the staff of a company, their roles and their place in the team.

create table public.users (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  auth_user_id uuid references auth.users (id) on delete set null,
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  avatar_url text,
  phone varchar(50),
  role public.user_role_enum not null default 'operador',
  is_owner boolean not null default false,
  permissions jsonb not null default '{}' check (jsonb_typeof(permissions) = 'object'),
  is_active boolean not null default true,
  invited_by uuid,
  invited_at timestamptz,
  accepted_invitation_at timestamptz,
  last_login_at timestamptz,
  last_seen_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid,
  primary key (company_id, id),
  unique (company_id, email),
  unique (company_id, auth_user_id),
  foreign key (company_id, invited_by) references public.users (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  check (is_owner = (role = 'owner')),
  constraint users_address_check check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  -- The permissions denied to a single person: {"documents.edit": false}. The column can only take
  -- permissions away.
  constraint users_permissions_narrow_check check (
    not jsonb_path_exists(permissions, '$.* ? (@ != false)')),
  constraint users_owner_unnarrowed_check check (
    not is_owner or permissions = '{}'),
  constraint users_first_name_reads_check check (first_name = '' or private.reads_as_name(first_name)),
  constraint users_last_name_reads_check
    check (last_name = '' or private.reads_as_name(last_name))
);
comment on column public.users.permissions is
  'The permissions denied to this person although the role has them, as {"<permission>": false}. Written by set_user_permissions().';
create unique index users_one_owner_key on public.users (company_id) where is_owner;
create index users_auth_user_idx on public.users (auth_user_id);
create index users_invited_by_idx on public.users (company_id, invited_by);
create index users_created_by_idx on public.users (company_id, created_by);

alter table public.users enable row level security, force row level security;
create policy staff_select on public.users for select to authenticated
  using (company_id = (select private.company_id('users.read'))
    and ((select private.manages_company())
      or id = (select private.user_id())
      or ((select private.user_role()) = 'supervisor' and role in ('supervisor', 'operador'))));
create policy staff_update on public.users for update to authenticated
  using (company_id = (select private.company_id('profile.edit'))
    and id = (select private.user_id()))
  with check (company_id = (select private.company_id('profile.edit'))
    and id = (select private.user_id()));
create policy worker_select on public.users for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.users for select to neurant_router using (true);
create policy router_insert on public.users for insert to neurant_router with check (true);
create policy router_update on public.users for update to neurant_router using (true) with check (true);
grant select on public.users to authenticated;
grant update (first_name, last_name, avatar_url, phone) on public.users to authenticated;
grant select (company_id, id, email, first_name, last_name, role, is_active) on public.users to
  neurant_worker;
grant select, insert on public.users to neurant_router;
grant update (auth_user_id, email, first_name, last_name, avatar_url, phone, role, is_owner,
  permissions, is_active, last_login_at, last_seen_at, updated_at) on public.users to
  neurant_router;

select private.audit_table('public.users', 'id',
  '{auth_user_id,role,is_owner,is_active,invited_by,invited_at,accepted_invitation_at,
    created_by,permissions}',
  '{email,first_name,last_name,avatar_url,phone}',
  '{}',
  '{last_login_at,last_seen_at,created_at,updated_at}');

create trigger set_updated_at before update on public.users
  for each row execute function private.update_updated_at_column();

create function private.check_operator_role() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if not exists (
    select from public.users u
    where u.company_id = new.company_id and u.id = new.operator_id and u.role = 'operador'
  ) then
    raise exception 'only an operador can be assigned to a chatbot' using errcode = 'check_violation';
  end if;
  return new;
end $$;
comment on function private.check_operator_role() is
  'Requires that a user assigned to a bot as its operador has that role. Security definer, called by a trigger, because the assigning supervisor may not see every user, and the rule must.';

create function private.check_supervisor_role() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if not exists (
    select from public.users u
    where u.company_id = new.company_id and u.id = new.supervisor_id and u.role = 'supervisor'
  ) then
    raise exception 'only a supervisor can be in charge of a chatbot' using errcode = 'check_violation';
  end if;
  return new;
end $$;
comment on function private.check_supervisor_role() is
  'Requires that a user in charge of a bot has the role supervisor. Security definer, called by a trigger, because the rule must see every user, whoever assigns.';

create function private.keep_an_owner() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from public.users u where u.company_id = old.company_id)
    and not exists (
      select from public.users u where u.company_id = old.company_id and u.is_owner and u.is_active)
  then
    raise exception 'a company has an active owner' using errcode = 'check_violation';
  end if;
  return null;
end $$;
comment on function private.keep_an_owner() is
  'Requires an active owner in every company. It is checked at commit, so that ownership can pass from one person to another. Security definer, called by a trigger, because the rule must see every user, whoever writes.';

create constraint trigger keep_an_owner
  after delete or update of role, is_owner, is_active on public.users
  deferrable initially deferred for each row when (old.is_owner)
  execute function private.keep_an_owner();

create function private.attends_while_active() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Locked: somebody who is deactivated at this moment takes nothing more.
  perform from public.users u
  where u.company_id = new.company_id and u.id = new.operator_id and u.is_active for share;
  if not found then
    raise exception 'only an active user attends a conversation' using errcode = 'insufficient_privilege';
  end if;
  return new;
end $$;
comment on function private.attends_while_active() is
  'Requires that the operator of a takeover is an active user, and locks that user''s row, so that a concurrent deactivation waits. Security definer, called by a trigger, because an operador may not see every colleague, and the rule must.';

create function private.leave_assignments(
  p_company uuid, p_user uuid, p_role public.user_role_enum)
returns void
language plpgsql security definer set search_path = '' as $$
begin
  if p_role <> 'operador' then
    update public.chatbot_operators o set is_active = false
    where o.company_id = p_company and o.operator_id = p_user and o.is_active;
  end if;
  if p_role <> 'supervisor' then
    delete from public.chatbot_supervisors s
    where s.company_id = p_company and s.supervisor_id = p_user;
  end if;
end $$;
comment on function private.leave_assignments(uuid, uuid, public.user_role_enum) is
  'Ends the assignments to bots that the new role cannot hold; called before the role changes. Security definer, called by other definers only, because it writes assignments that the caller may not write.';

create function private.release_takeovers(p_company uuid, p_user uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from public.conversations c
  where c.company_id = p_company and c.id in (
    select s.conversation_id from public.hitl_sessions s
    where s.company_id = p_company and s.operator_id = p_user and s.ended_at is null)
  order by c.id for update;
  update public.hitl_sessions s set status = 'pending', operator_id = null
  where s.company_id = p_company and s.operator_id = p_user and s.ended_at is null;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = p_company and t.status = 'pending'
    and (t.from_user_id = p_user or t.to_user_id = p_user);
end $$;
comment on function private.release_takeovers(uuid, uuid) is
  'Returns the conversations that a user attends to the queue. Security definer, called by other definers only, because no role may write hitl_sessions directly.';

create function private.set_user_role(p_user uuid, p_role public.user_role_enum) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('users.manage');
  v_target public.users;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not (private.stands_above(v_target.role) and private.stands_above(p_role)) then
    return 'forbidden';
  end if;
  if v_target.role = p_role then
    return 'unchanged';
  end if;
  perform private.leave_assignments(v_company, p_user, p_role);
  update public.users u set role = p_role where u.company_id = v_company and u.id = p_user;
  return 'changed';
end $$;
comment on function private.set_user_role(uuid, public.user_role_enum) is
  'Gives a user below the caller another role below the caller''s. Outcome: changed, unchanged, forbidden or not_found. Security definer, called by staff and API keys, because no role may write roles directly.';
grant execute on function private.set_user_role(uuid, public.user_role_enum) to authenticated;

create function private.set_user_active(p_user uuid, p_is_active boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('users.manage');
  v_target public.users;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  -- The user, then conversations, then (by a trigger) the company.
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_target.role) then
    return 'forbidden';
  end if;
  if v_target.is_active = p_is_active then
    return 'unchanged';
  end if;
  if not p_is_active then
    perform private.release_takeovers(v_company, p_user);
    delete from public.login_sessions s where s.company_id = v_company and s.user_id = p_user;
  end if;
  update public.users u set is_active = p_is_active where u.company_id = v_company and u.id = p_user;
  return case when p_is_active then 'activated' else 'deactivated' end;
end $$;
comment on function private.set_user_active(uuid, boolean) is
  'Activates or deactivates a user below the caller. Outcome: activated (error NA002 if no seat is left), deactivated (the seat is freed, sessions end, and takeovers return to the queue), unchanged, forbidden or not_found. Security definer, called by staff and API keys, because no role may write this column directly.';
grant execute on function private.set_user_active(uuid, boolean) to authenticated;

-- Ownership is only ever transferred as a whole.
create function private.transfer_ownership(p_to uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.transfer');
  v_user uuid := private.user_id();
  v_target public.users;
begin
  if v_company is null then
    return 'forbidden';
  end if;
  perform from public.users u
  where u.company_id = v_company and u.id in (v_user, p_to) order by u.id for no key update;
  if not exists (
    select from public.users u where u.company_id = v_company and u.id = v_user and u.is_owner) then
    return 'forbidden';  -- passed on a moment ago
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active and u.auth_user_id is not null;
  if v_target.id is null then
    return 'not_found';
  end if;
  if v_target.id = v_user then
    return 'unchanged';
  end if;
  perform private.leave_assignments(v_company, p_to, 'owner');
  update public.users u set role = 'administrador', is_owner = false
  where u.company_id = v_company and u.id = v_user;
  update public.users u set role = 'owner', is_owner = true, permissions = '{}'
  where u.company_id = v_company and u.id = p_to;
  perform private.notify_users(v_company, '{owner}', 'ownership_received', '{}');
  return 'transferred';
end $$;
comment on function private.transfer_ownership(uuid) is
  'The owner makes an active colleague the owner and becomes administrador. Outcome: transferred, unchanged, forbidden or not_found. Concurrent readers see exactly one owner at any time. Security definer, called by staff and API keys, because no role may write roles directly.';
grant execute on function private.transfer_ownership(uuid) to authenticated;

create function private.set_user_permissions(p_user uuid, p_denied text[]) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('users.manage');
  v_target public.users;
  v_permissions jsonb := coalesce(
    (select jsonb_object_agg(d.name, false) from unnest(p_denied) as d (name)), '{}');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_target.role) then
    return 'forbidden';
  end if;
  if exists (
    select from unnest(p_denied) as d (name)
    where d.name is null
      or d.name not in (select p.name from public.permissions p where p.is_narrowable)) then
    return 'not_narrowable';
  end if;
  if v_target.permissions = v_permissions then
    return 'unchanged';
  end if;
  update public.users u set permissions = v_permissions
  where u.company_id = v_company and u.id = p_user;
  return 'changed';
end $$;
comment on function private.set_user_permissions(uuid, text[]) is
  'Replaces the permissions denied to a user below the caller. Outcome: changed, unchanged, not_narrowable (an unknown permission, or one that cannot be taken away), forbidden or not_found. Security definer, called by staff and API keys, because no role may write this column directly.';
grant execute on function private.set_user_permissions(uuid, text[]) to authenticated;

create function private.team_directory() returns table (
  user_id uuid, first_name text, last_name text, avatar_url text, role public.user_role_enum,
  last_seen_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select u.id, u.first_name, u.last_name, u.avatar_url, u.role,
    private.last_seen(u.company_id, u.id)
  from public.users u
  where u.company_id = (select private.company_id('team.read')) and u.is_active
    and ((select private.sees_all_chatbots())
      -- Whoever is in charge of a bot is a supervisor: among these, too.
      or u.role <> 'operador'
      or exists (
        select from public.chatbot_operators o
        where o.company_id = u.company_id and o.operator_id = u.id and o.is_active
          and o.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])))
$$;
comment on function private.team_directory() is
  'Returns the active colleagues to whom the caller may transfer a conversation, with what distinguishes them: everybody from supervisor up, and the operadores of the caller''s bots (of all bots for a supervisor and above). Security definer, called by staff and API keys, because an operador may not read other users'' rows, whose e-mail and phone stay closed.';
grant execute on function private.team_directory() to authenticated;

create function private.last_seen(p_company uuid, p_user uuid) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select greatest(
    (select u.last_seen_at from public.users u where u.company_id = p_company and u.id = p_user),
    (select max(s.last_seen_at) from public.login_sessions s
      where s.company_id = p_company and s.user_id = p_user))
$$;
comment on function private.last_seen(uuid, uuid) is
  'Returns when a user was last active, to the minute. Security definer, called by other definers only, because no other role may read sessions.';

create function private.memberships(p_auth_user uuid) returns bigint
language sql stable security definer set search_path = '' as $$
  select count(*) from public.users u
  where u.auth_user_id = p_auth_user and u.is_active
    and private.sso_required(u.company_id, u.id) is null
$$;
comment on function private.memberships(uuid) is
  'Returns the number of companies that the person of a token may choose from. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.memberships(uuid) to neurant_app;

create function private.lost_companies(p_token_digest bytea) returns setof text
language sql stable security definer set search_path = '' as $$
  select c.name::text
  from public.auth_sessions a
  join public.users u on u.auth_user_id = a.auth_user_id and not u.is_active
    and (a.only_company_id is null or u.company_id = a.only_company_id)
  join public.companies c on c.id = u.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by c.name
$$;
comment on function private.lost_companies(bytea) is
  'Returns only the names of the companies in which the person of this session is deactivated. Security definer, called by the web process, because no principal may read two companies at once.';
grant execute on function private.lost_companies(bytea) to neurant_app;

create function private.leave_nothing_of_others(p_auth_user uuid) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.auth_sessions s where s.auth_user_id = p_auth_user;
  delete from public.auth_factors f where f.auth_user_id = p_auth_user;
  delete from public.login_challenges c where c.auth_user_id = p_auth_user;
  update public.password_resets r set used_at = now()
  where r.auth_user_id = p_auth_user and r.used_at is null
$$;
comment on function private.leave_nothing_of_others(uuid) is
  'Ends every session, second step, challenge and password reset of a login that an identity provider created, at the moment its mailbox owner takes it over. Security definer, called by other definers only, because it writes tables that are closed to every login.';

-- 22_plans.sql -----------------------------------------------------------------------------------
-- Plans and their limits: each limit of a company with its counter.

create table public.plans (
  plan public.subscription_plan_enum primary key,
  rank smallint not null unique,
  monthly_message_limit integer not null check (monthly_message_limit >= -1),
  max_chatbots integer not null check (max_chatbots >= -1),
  max_users integer not null check (max_users >= -1),
  max_integrations integer not null check (max_integrations >= -1),
  max_document_characters integer not null check (max_document_characters >= -1),
  max_storage_mb integer not null check (max_storage_mb >= -1),
  max_hitl_concurrent integer not null check (max_hitl_concurrent >= -1),
  monthly_price_usd decimal(10, 2) check (monthly_price_usd >= 0),
  channels public.conversation_channel_enum[] not null,
  requests_per_minute integer not null default 120 check (requests_per_minute > 0),
  visitor_conversations_per_hour integer not null default 60
    check (visitor_conversations_per_hour > 0)
);
comment on table public.plans is
  'Platform table: the catalogue of plans. A company''s own limits are copied from it when its plan changes; -1 is unlimited.';
comment on column public.plans.monthly_price_usd is
  'Null: the price is agreed with each customer, and the plan is not sold by the catalogue.';
comment on column public.plans.requests_per_minute is
  'Requests to the HTTP API, for all callers of a company together.';
comment on column public.plans.visitor_conversations_per_hour is
  'Maximum of new conversations of web chat visitors in an hour, for companies without a number of their own.';

alter table public.plans enable row level security, force row level security;
create policy everybody_select on public.plans for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.plans to authenticated, neurant_worker, neurant_router;

create table public.plan_alerts (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  subject text not null check (subject ~ '^[a-z_]{3,50}$'),
  level smallint not null check (level between 1 and 100),
  period_start date not null,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, subject, level, period_start)
);
comment on table public.plan_alerts is
  'Notifications of limits that a company has received (subject: a limit, or plan_change), so that each is sent once a month.';

alter table public.plan_alerts enable row level security, force row level security;
create policy staff_select on public.plan_alerts for select to authenticated
  using (company_id = (select private.company_id('billing.read')));
create policy router_select on public.plan_alerts for select to neurant_router using (true);
create policy router_insert on public.plan_alerts for insert to neurant_router with check (true);
grant select on public.plan_alerts to authenticated;
grant select, insert on public.plan_alerts to neurant_router;

create function private.use_plan(p_company uuid, p_limit text, p_change bigint) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_used bigint;
  v_allowed bigint;
begin
  update public.companies c
  set current_chatbot_count = c.current_chatbot_count
      + case p_limit when 'max_chatbots' then p_change else 0 end,
    current_user_count = c.current_user_count
      + case p_limit when 'max_users' then p_change else 0 end,
    current_integration_count = c.current_integration_count
      + case p_limit when 'max_integrations' then p_change else 0 end,
    current_document_characters = c.current_document_characters
      + case p_limit when 'max_document_characters' then p_change else 0 end,
    current_storage_bytes = c.current_storage_bytes
      + case p_limit when 'max_storage_mb' then p_change else 0 end,
    current_hitl_count = c.current_hitl_count
      + case p_limit when 'max_hitl_concurrent' then p_change else 0 end
  where c.id = p_company
  returning c.* into v_company;
  if p_limit = 'max_users' and p_change > 0 and v_company.max_users <> -1
    and v_company.current_user_count > v_company.max_users then
    -- Invitations that ran out hold no seat; a trigger gives theirs back.
    update public.user_invitations i set status = 'expired'
    where i.company_id = p_company and i.status = 'pending' and i.expires_at <= now();
    select c.* into v_company from public.companies c where c.id = p_company;
  end if;
  select u.used, u.allowed into v_used, v_allowed
  from (values
    ('max_chatbots', v_company.current_chatbot_count::bigint, v_company.max_chatbots::bigint),
    ('max_users', v_company.current_user_count, v_company.max_users),
    ('max_integrations', v_company.current_integration_count, v_company.max_integrations),
    ('max_document_characters', v_company.current_document_characters, v_company.max_document_characters),
    ('max_storage_mb', v_company.current_storage_bytes,
      case v_company.max_storage_mb when -1 then -1 else v_company.max_storage_mb * 1048576::bigint end),
    ('max_hitl_concurrent', v_company.current_hitl_count, v_company.max_hitl_concurrent)
  ) as u (limit_name, used, allowed)
  where u.limit_name = p_limit;
  if p_change > 0 and v_allowed <> -1 and v_used > v_allowed then
    perform private.refuse_over_limit(p_limit, v_used - p_change, v_allowed);
  end if;
end $$;
comment on function private.use_plan(uuid, text, bigint) is
  'Counts a change against a limit of the company (named like its column), or refuses it with NA002. It locks the company''s row until the end of the transaction, so callers skip it when nothing changes. Existing use stays when a limit is lowered. Security definer, called by other definers only, because no role may write counters directly.';

create function private.refuse_over_limit(p_limit text, p_used bigint, p_allowed bigint) returns void
language plpgsql set search_path = '' as $$
begin
  raise exception 'limit reached: %', p_limit using errcode = 'NA002',
    detail = jsonb_build_object('limit', p_limit, 'used', p_used, 'allowed', p_allowed);
end $$;
grant execute on function private.refuse_over_limit(text, bigint, bigint) to neurant_router;

create function private.count_chatbot() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and new.retired_at is null)::integer
    - (tg_op <> 'INSERT' and old.retired_at is null)::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_chatbots', v_change);
  end if;
  return null;
end $$;
comment on function private.count_chatbot() is
  'Counts a chatbot against the plan. Security definer, called by a trigger, because a person who may create a bot may not write counters.';

create function private.count_user() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.is_active, false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.is_active, false))::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_users', v_change);
  end if;
  return null;
end $$;
comment on function private.count_user() is
  'Counts a user against the plan. Security definer, called by a trigger, because no role may write counters directly.';

create trigger keep_user_count after insert or delete or update of is_active on public.users
  for each row execute function private.count_user();

create function private.count_invitation() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.status = 'pending', false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.status = 'pending', false))::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_users', v_change);
  end if;
  return null;
end $$;
comment on function private.count_invitation() is
  'Counts an invitation against the plan. Security definer, called by a trigger, because no role may write counters directly.';

create function private.count_integration() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.is_active, false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.is_active, false))::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_integrations', v_change);
  end if;
  return null;
end $$;
comment on function private.count_integration() is
  'Counts an integration against the plan. Security definer, called by a trigger, because no role may write counters directly.';

create function private.count_document() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := coalesce(new.company_id, old.company_id);
  v_is boolean := tg_op <> 'DELETE' and new.retired_at is null;
  v_was boolean := tg_op <> 'INSERT' and old.retired_at is null;
  v_bytes bigint := case when v_is then new.file_size_bytes else 0 end
    - case when v_was then old.file_size_bytes else 0 end;
  v_characters bigint := case when v_is then coalesce(new.character_count, 0) else 0 end
    - case when v_was then coalesce(old.character_count, 0) else 0 end;
begin
  if v_bytes <> 0 then
    perform private.use_plan(v_company, 'max_storage_mb', v_bytes);
  end if;
  if v_characters <> 0 then
    perform private.use_plan(v_company, 'max_document_characters', v_characters);
  end if;
  return null;
end $$;
comment on function private.count_document() is
  'Counts a document''s characters and bytes against the plan. Security definer, called by a trigger, because neither the person who adds a document nor the worker that reads it may write counters.';

create function private.count_takeover() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.status = 'active', false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.status = 'active', false))::integer;
  v_company public.companies;
begin
  if v_change <> 0 then
    perform private.use_plan(
      coalesce(new.company_id, old.company_id), 'max_hitl_concurrent', v_change);
  elsif tg_op = 'INSERT' and new.status = 'pending' then
    select c.* into v_company from public.companies c where c.id = new.company_id;
    if v_company.max_hitl_concurrent = 0 then
      perform private.refuse_over_limit('max_hitl_concurrent', v_company.current_hitl_count, 0);
    end if;
  end if;
  return null;
end $$;
comment on function private.count_takeover() is
  'Counts the takeovers that a person attends against the plan; any number may wait in the queue, unless the plan allows no takeovers at all. Security definer, called by a trigger, because no role may write counters directly.';

create function private.plan_use(p_company uuid, p_now timestamptz)
returns table (
  limit_name text, used bigint, allowed bigint, next_plan public.subscription_plan_enum)
language sql stable security definer set search_path = '' as $$
  select l.limit_name, l.used,
    case l.allowed when -1 then -1 else l.allowed * l.unit end,
    (select p.plan
      from public.plans p
      cross join lateral (select (to_jsonb(p) ->> l.limit_name)::bigint as allowed) there
      where l.allowed <> -1 and (there.allowed = -1 or there.allowed > l.allowed)
      order by p.rank
      limit 1)
  from public.companies c
  cross join lateral (values
    (1, 'monthly_message_limit', c.monthly_message_limit::bigint, 1::bigint,
      case when c.monthly_reset_date
          < private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) then 0
        else c.monthly_message_count + coalesce((
          select sum(s.used) from public.usage_slots s where s.company_id = c.id), 0) end),
    (2, 'max_chatbots', c.max_chatbots, 1, c.current_chatbot_count),
    (3, 'max_users', c.max_users, 1, c.current_user_count - (
      select count(*) from public.user_invitations i
      where i.company_id = c.id and i.status = 'pending' and i.expires_at <= p_now)),
    (4, 'max_integrations', c.max_integrations, 1, c.current_integration_count),
    (5, 'max_document_characters', c.max_document_characters, 1, c.current_document_characters),
    (6, 'max_storage_mb', c.max_storage_mb, 1048576, c.current_storage_bytes),
    (7, 'max_hitl_concurrent', c.max_hitl_concurrent, 1, c.current_hitl_count)
  ) as l (place, limit_name, allowed, unit, used)
  where c.id = p_company
  order by l.place
$$;
comment on function private.plan_use(uuid, timestamptz) is
  'Returns each limit of a company with its use, exact at commit (storage in bytes, the rest as counts; -1: unlimited), and the cheapest plan that allows more. Security definer, called by other definers only, because no role may read the slots.';

create function private.usage(p_now timestamptz default now())
returns table (
  limit_name text, used bigint, allowed bigint, next_plan public.subscription_plan_enum)
language sql stable security definer set search_path = '' as $$
  select u.limit_name, u.used, u.allowed, u.next_plan
  from private.plan_use((select private.company_id('company.read')), p_now) u
$$;
comment on function private.usage(timestamptz) is
  'Returns the use of the caller''s own company against its limits, in the form of plan_use. Security definer, called by staff and API keys and the worker for one company, because no role may read the slots.';
grant execute on function private.usage(timestamptz) to authenticated, neurant_worker;

create function private.give_notice(p_company uuid, p_conversation uuid, p_notice text) returns uuid
language sql volatile security definer set search_path = '' as $$
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)
  select c.company_id, c.id, c.chatbot_id, c.channel_account_id, 'system', p_notice
  from public.conversations c
  where c.company_id = p_company and c.id = p_conversation
  returning id
$$;
comment on function private.give_notice(uuid, uuid, text) is
  'Writes a system line into a conversation, by its key in the message catalogue; a system line is never billed. Security definer, called by other definers only, because no role may write a message''s sender and order.';

create function private.tell_of_limit(p_company uuid, p_conversation uuid) returns uuid
language sql volatile security definer set search_path = '' as $$
  select private.give_notice(p_company, p_conversation, 'limit_reached')
  from public.companies k
  where k.id = p_company and not exists (
    select from public.messages m
    where m.company_id = k.id and m.conversation_id = p_conversation
      and m.sender_type = 'system' and m.content = 'limit_reached'
      and m.created_at >= k.monthly_reset_date::timestamp at time zone k.timezone)
$$;
comment on function private.tell_of_limit(uuid, uuid) is
  'Tells an end user once a month that the assistant has reached its limit. Returns the message, or null if the conversation has the line already. Security definer, called by other definers only, because no role may write a message''s sender and order.';

create function private.message_limit_reached() returns boolean
language sql stable security definer set search_path = '' as $$
  select c.monthly_message_limit <> -1
    and coalesce(private.message_usage(c.id) >= c.monthly_message_limit, false)
  from public.companies c
  where c.id = (select private.company_id())
$$;
comment on function private.message_limit_reached() is
  'Returns whether the caller''s company has no bot messages left this month, to be checked before an answer is searched for. Security definer, called by the worker for one company, because no role may read the slots.';
grant execute on function private.message_limit_reached() to neurant_worker;

create function private.raise_usage_alerts(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_raised integer;
begin
  with reached as materialized (
    select c.id as company_id, u.limit_name, l.level, u.used, u.allowed, u.next_plan,
      private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) as period_start
    from public.companies c
    cross join lateral private.plan_use(c.id, p_now) u
    cross join (values (80), (95)) as l (level)
    where c.subscription_status not in ('cancelled', 'inactive') and u.allowed > 0
      and u.used * 100 >= u.allowed * l.level
  ),
  fresh as (
    insert into public.plan_alerts (company_id, subject, level, period_start)
    select r.company_id, r.limit_name, r.level, r.period_start
    from reached r
    order by r.company_id, r.limit_name, r.level
    on conflict do nothing
    returning company_id, subject, level
  ),
  told as (
    -- From below 80 to above 95 at one step is told once.
    select distinct on (r.company_id, r.limit_name) r.*
    from fresh f
    join reached r on r.company_id = f.company_id and r.limit_name = f.subject and r.level = f.level
    order by r.company_id, r.limit_name, r.level desc
  )
  insert into public.notifications (company_id, user_id, kind, details)
  select t.company_id, u.id, 'usage_alert', jsonb_build_object('limit', t.limit_name,
    'level', t.level, 'used', t.used, 'allowed', t.allowed, 'next_plan', t.next_plan)
  from told t
  join public.users u on u.company_id = t.company_id and u.is_active
    and u.role in ('owner', 'administrador');
  get diagnostics v_raised = row_count;
  return v_raised;
end $$;
comment on function private.raise_usage_alerts(timestamptz) is
  'Notifies the owner and administradores when 80 % and 95 % of a limit are used, once a month each. Returns the number of notifications. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.raise_usage_alerts(timestamptz) to neurant_jobs;

-- 23_plan_changes.sql ----------------------------------------------------------------------------
-- Changes of plan: requests, the end of a period, past-due payments, trials.

create table public.plan_requests (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  plan public.subscription_plan_enum not null,
  requested_by uuid not null,
  status text not null default 'pending'
    check (status in ('pending', 'confirmed', 'withdrawn', 'replaced')),
  created_at timestamptz not null default now(),
  decided_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, requested_by) references public.users (company_id, id),
  check ((status = 'pending') = (decided_at is null))
);
comment on table public.plan_requests is
  'A plan with a price that an owner asked for. It begins when the biller confirms it.';
create unique index plan_requests_pending_idx on public.plan_requests (company_id)
  where status = 'pending';
create index plan_requests_by_idx on public.plan_requests (company_id, requested_by);

alter table public.plan_requests enable row level security, force row level security;
create policy staff_select on public.plan_requests for select to authenticated
  using (company_id = (select private.company_id('billing.read')));
create policy router_select on public.plan_requests for select to neurant_router using (true);
create policy router_insert on public.plan_requests for insert to neurant_router with check (true);
create policy router_update on public.plan_requests for update to neurant_router
  using (true) with check (true);
grant select on public.plan_requests to authenticated;
grant select, insert on public.plan_requests to neurant_router;
grant update (status, decided_at) on public.plan_requests to neurant_router;

select private.audit_table('public.plan_requests', 'requested_by',
  '{plan,requested_by,status,decided_at}',
  '{}',
  '{}',
  '{created_at}');

create function private.apply_plan(p_company uuid, p_plan public.subscription_plan_enum)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.companies c
  set subscription_plan = p.plan,
    monthly_message_limit = p.monthly_message_limit,
    max_chatbots = p.max_chatbots,
    max_users = p.max_users,
    max_integrations = p.max_integrations,
    max_document_characters = p.max_document_characters,
    max_storage_mb = p.max_storage_mb,
    max_hitl_concurrent = p.max_hitl_concurrent,
    plan_changed_at = now(),
    next_plan = null,
    plan_change_scheduled_at = null
  from public.plans p
  where c.id = p_company and p.plan = p_plan
$$;
comment on function private.apply_plan(uuid, public.subscription_plan_enum) is
  'Gives a company the limits of a plan, whatever its use. Security definer, called by other definers only, because no role may write plans and limits directly.';

create function private.exceeded_limits(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz)
returns text[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(e.limit_name), '{}')
  from private.plan_excess(p_company, p_plan, p_now) e
$$;
comment on function private.exceeded_limits(uuid, public.subscription_plan_enum, timestamptz) is
  'Returns the limits of a plan that a company''s use exceeds. The caller must hold the lock on the company. Security definer, called by other definers only, because no role may read the slots.';

create function private.next_month_start(p_company uuid, p_now timestamptz) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select private.anchor_date(
    (date_trunc('month', private.month_start(
      (p_now at time zone c.timezone)::date, c.monthly_anchor_day)::timestamp)
      + interval '1 month')::date, c.monthly_anchor_day)::timestamp at time zone c.timezone
  from public.companies c
  where c.id = p_company
$$;
comment on function private.next_month_start(uuid, timestamptz) is
  'Returns when the company''s next month begins, by its anchor day and timezone. Security definer, called by other definers only, because it reads companies for other definers.';

create function private.change_plan(
  p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_from smallint;
  v_to public.plans;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  select p.rank into v_from from public.plans p where p.plan = v_company.subscription_plan;
  select p.* into v_to from public.plans p where p.plan = p_plan;
  if v_company.subscription_status = 'active' and v_to.rank = v_from then
    return 'unchanged';
  elsif p_plan = 'free' and v_company.subscription_status in ('trialing', 'inactive') then
    return case private.confirm_plan(v_company.id, 'free', p_now)
      when 'confirmed' then 'applied' else 'does_not_fit' end;
  elsif v_to.rank < v_from and v_company.subscription_status in ('active', 'past_due') then
    update public.companies c
    set next_plan = p_plan, plan_change_scheduled_at = (select private.paid_until(v_company.id, p_now)),
      -- To go on with a smaller plan is to go on.
      subscription_ends_at = case v_company.subscription_status
        when 'past_due' then v_company.subscription_ends_at end
    where c.id = v_company.id;
    return 'scheduled';
  elsif v_to.monthly_price_usd is null then
    return 'not_for_sale';
  elsif v_to.rank < v_from and private.exceeded_limits(v_company.id, p_plan, p_now) <> '{}' then
    return 'does_not_fit';
  end if;
  update public.plan_requests r set status = 'replaced', decided_at = p_now
  where r.company_id = v_company.id and r.status = 'pending' and r.plan <> p_plan;
  insert into public.plan_requests (company_id, plan, requested_by)
  values (v_company.id, p_plan, (select private.user_id()))
  on conflict (company_id) where status = 'pending' do nothing;
  return 'requested';
end $$;
comment on function private.change_plan(public.subscription_plan_enum, timestamptz) is
  'The owner chooses a plan. Outcome: requested (it costs money and waits for private.confirm_plan), scheduled (a smaller plan, at the end of the paid period), applied (a free one, from a trial or inactive), does_not_fit (see private.plan_fit), unchanged, not_for_sale (it has no price), closed (reopen first) or forbidden. Security definer, called by staff and API keys, because no role may write plans and limits directly.';
grant execute on function private.change_plan(public.subscription_plan_enum, timestamptz) to
  authenticated;

create function private.cancel_plan_change() returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_withdrawn boolean;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  update public.plan_requests r set status = 'withdrawn', decided_at = now()
  where r.company_id = v_company.id and r.status = 'pending';
  v_withdrawn := found;
  update public.companies c
  set next_plan = null, plan_change_scheduled_at = null,
    subscription_ends_at = case c.subscription_status when 'active' then null
      else c.subscription_ends_at end
  where c.id = v_company.id and (c.next_plan is not null
    or c.subscription_status = 'active' and c.subscription_ends_at is not null);
  return case when found or v_withdrawn then 'cancelled' else 'nothing_scheduled' end;
end $$;
comment on function private.cancel_plan_change() is
  'The owner keeps the current plan and withdraws a requested or scheduled plan or a cancellation. Outcome: cancelled, nothing_scheduled, closed or forbidden. Security definer, called by staff and API keys, because no role may write plans and limits directly.';
grant execute on function private.cancel_plan_change() to authenticated;

create function private.apply_due_plan_changes(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_exceeded text[];
  v_applied integer := 0;
begin
  for v_company in
    -- What somebody changes right now comes at the next turn.
    select c.* from public.companies c
    where c.next_plan is not null and c.plan_change_scheduled_at <= p_now
      and c.subscription_status <> 'cancelled'
    order by c.id for no key update skip locked
  loop
    v_exceeded := private.exceeded_limits(v_company.id, v_company.next_plan, p_now);
    if v_exceeded = '{}' then
      perform private.apply_plan(v_company.id, v_company.next_plan);
      perform private.notify_users(v_company.id, '{owner,administrador}', 'plan_changed',
        jsonb_build_object('plan', v_company.next_plan));
      v_applied := v_applied + 1;
      continue;
    end if;
    insert into public.plan_alerts (company_id, subject, level, period_start)
    values (v_company.id, 'plan_change', 100, private.month_start(
      (p_now at time zone v_company.timezone)::date, v_company.monthly_anchor_day))
    on conflict do nothing;
    if found then
      perform private.notify_users(v_company.id, '{owner,administrador}', 'plan_change_waits',
        jsonb_build_object('plan', v_company.next_plan, 'limits', v_exceeded));
    end if;
  end loop;
  return v_applied;
end $$;
comment on function private.apply_due_plan_changes(timestamptz) is
  'Begins the smaller plans that are due, where the company''s use fits; where it does not, notifies the company once a month and waits. Returns the number of plans that began. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.apply_due_plan_changes(timestamptz) to neurant_jobs;

create function private.plan_excess(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz)
returns table (limit_name text, used bigint, allowed bigint)
language sql stable security definer set search_path = '' as $$
  select u.limit_name, u.used, there.allowed
  from private.plan_use(p_company, p_now) u
  join public.plans p on p.plan = p_plan
  cross join lateral (
    select (to_jsonb(p) ->> u.limit_name)::bigint
      * case when u.limit_name = 'max_storage_mb' and p.max_storage_mb > 0 then 1048576 else 1 end
      as allowed) there
  where u.limit_name <> 'monthly_message_limit'  -- a new month begins with the new plan
    and there.allowed <> -1 and u.used > there.allowed
  union all
  select 'channels', count(*), 0
  from public.channel_accounts a
  join public.plans p on p.plan = p_plan
  where a.company_id = p_company and a.status in ('connected', 'error')
    and a.channel <> all (p.channels)
  having count(*) > 0
$$;
comment on function private.plan_excess(uuid, public.subscription_plan_enum, timestamptz) is
  'Returns what exceeds a plan in a company, with amounts as in plan_use; channels: the accounts connected to a channel that the plan lacks. The caller must hold the lock on the company. Security definer, called by other definers only, because no role may read the slots.';

create function private.plan_fit(
  p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns table (limit_name text, used bigint, allowed bigint)
language sql stable security definer set search_path = '' as $$
  select e.limit_name, e.used, e.allowed
  from private.plan_excess((select private.company_id('company.read')), p_plan, p_now) e
$$;
comment on function private.plan_fit(public.subscription_plan_enum, timestamptz) is
  'Returns what exceeds a plan in the caller''s own company; no rows: everything fits. Security definer, called by staff and API keys, because no role may read the slots.';
grant execute on function private.plan_fit(public.subscription_plan_enum, timestamptz) to
  authenticated;

create function private.allow_channel() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_plan public.plans;
begin
  if tg_op = 'UPDATE' and old.status in ('connected', 'error') and old.channel = new.channel then
    return null;
  end if;
  -- Shared: a smaller plan that begins at this moment waits, or is seen.
  perform from public.companies c where c.id = new.company_id for share;
  select p.* into v_plan
  from public.companies c join public.plans p on p.plan = c.subscription_plan
  where c.id = new.company_id;
  if new.channel <> all (v_plan.channels) then
    raise exception 'limit reached: channels' using errcode = 'NA002',
      detail = jsonb_build_object('limit', 'channels', 'used', 0, 'allowed', 0,
        'channel', new.channel, 'plan', v_plan.plan, 'next_plan', (
          select p.plan from public.plans p
          where p.rank > v_plan.rank and new.channel = any (p.channels) order by p.rank limit 1));
  end if;
  return null;
end $$;
comment on function private.allow_channel() is
  'Refuses a channel that the plan lacks, with NA002. Security definer, called by a trigger, because the rule must read the plan and lock the company, whoever connects the channel.';

create function private.fall_back(p_company uuid, p_reason text, p_now timestamptz) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_exceeded text[] := private.exceeded_limits(p_company, 'free', p_now);
begin
  if v_exceeded = '{}' then
    perform private.apply_plan(p_company, 'free');
    update public.companies c set subscription_status = 'active', subscription_ends_at = null
    where c.id = p_company;
    perform private.notify_users(p_company, '{owner,administrador}', 'subscription_ended',
      jsonb_build_object('reason', p_reason, 'plan', 'free'));
    return 'free';
  end if;
  update public.companies c
  set subscription_status = 'inactive', subscription_ends_at = p_now, next_plan = null,
    plan_change_scheduled_at = null
  where c.id = p_company;
  perform private.notify_users(p_company, '{owner,administrador}', 'subscription_inactive',
    jsonb_build_object('reason', p_reason, 'limits', v_exceeded));
  return 'inactive';
end $$;
comment on function private.fall_back(uuid, text, timestamptz) is
  'Ends the paid period: the plan becomes free if the use fits, else the company becomes inactive and keeps its data. The caller must hold the lock on the company. Security definer, called by other definers only, because no role may write plans and status directly.';

create function private.end_subscriptions(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_ended integer := 0;
begin
  for v_company in
    select c.* from public.companies c
    where c.subscription_status in ('trialing', 'active', 'past_due')
      and c.subscription_ends_at <= p_now
    order by c.id for no key update skip locked
  loop
    v_ended := v_ended + 1;
    if v_company.subscription_status = 'past_due' then
      update public.companies c
      set subscription_status = 'inactive', subscription_ends_at = p_now, next_plan = null,
        plan_change_scheduled_at = null
      where c.id = v_company.id;
      perform private.notify_users(v_company.id, '{owner,administrador}', 'subscription_inactive',
        '{"reason": "past_due", "limits": []}');
    else
      perform private.fall_back(v_company.id,
        case v_company.subscription_status when 'trialing' then 'trial' else 'cancelled' end, p_now);
    end if;
  end loop;
  return v_ended;
end $$;
comment on function private.end_subscriptions(timestamptz) is
  'Ends the trials, cancelled subscriptions and grace periods that are over. Trials and cancelled subscriptions become free if the use fits, else inactive; past_due becomes inactive. Returns the number of companies. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.end_subscriptions(timestamptz) to neurant_jobs;

create function private.tell_ending_trials(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_told integer := 0;
begin
  for v_company in
    select c.* from public.companies c
    where c.subscription_status = 'trialing' and c.subscription_ends_at > p_now
      and c.subscription_ends_at <= p_now + interval '3 days'
    order by c.id
  loop
    insert into public.plan_alerts (company_id, subject, level, period_start)
    values (v_company.id, 'trial_ends', 100,
      (v_company.subscription_ends_at at time zone v_company.timezone)::date)
    on conflict do nothing;
    if found then
      perform private.notify_users(v_company.id, '{owner,administrador}', 'trial_ends',
        jsonb_build_object('plan', v_company.subscription_plan, 'at', v_company.subscription_ends_at));
      v_told := v_told + 1;
    end if;
  end loop;
  return v_told;
end $$;
comment on function private.tell_ending_trials(timestamptz) is
  'Notifies the owner and administradores once, within three days before the trial ends. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.tell_ending_trials(timestamptz) to neurant_jobs;

create function private.set_past_due(p_company uuid, p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_until timestamptz := p_now + interval '14 days';
begin
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  if v_company.id is null then
    return 'unknown';
  elsif v_company.subscription_status not in ('active', 'trialing')
    or v_company.subscription_plan = 'free' then
    return 'unchanged';
  end if;
  update public.companies c set subscription_status = 'past_due', subscription_ends_at = v_until
  where c.id = p_company;
  perform private.notify_users(p_company, '{owner,administrador}', 'past_due',
    jsonb_build_object('plan', v_company.subscription_plan, 'at', v_until));
  return 'past_due';
end $$;
comment on function private.set_past_due(uuid, timestamptz) is
  'Records a missing payment; everything works for 14 more days. Outcome: past_due, unchanged (nothing is paid for, or it is past due already) or unknown. Security definer, called by the web process, because only the biller, through the web process or the command line, may record it.';
grant execute on function private.set_past_due(uuid, timestamptz) to neurant_app;

create function private.confirm_plan(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_is_smaller boolean;
begin
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  if v_company.id is null then
    return 'unknown';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  select t.rank < f.rank into v_is_smaller
  from public.plans f, public.plans t
  where f.plan = v_company.subscription_plan and t.plan = p_plan;
  if v_is_smaller and private.exceeded_limits(p_company, p_plan, p_now) <> '{}' then
    return 'does_not_fit';
  end if;
  if v_company.subscription_plan <> p_plan then
    perform private.apply_plan(p_company, p_plan);
  end if;
  update public.companies c set subscription_status = 'active', subscription_ends_at = null
  where c.id = p_company;
  update public.plan_requests r
  set status = case r.plan when p_plan then 'confirmed' else 'replaced' end, decided_at = p_now
  where r.company_id = p_company and r.status = 'pending';
  if v_company.subscription_status = 'inactive' then
    perform private.drop_stale_work(p_company, p_now);
  end if;
  if (v_company.subscription_plan, v_company.subscription_status) <> (p_plan, 'active') then
    perform private.notify_users(p_company, '{owner,administrador}', 'plan_changed',
      jsonb_build_object('plan', p_plan));
  end if;
  return 'confirmed';
end $$;
comment on function private.confirm_plan(uuid, public.subscription_plan_enum, timestamptz) is
  'Records that a plan is paid for, so that it begins at once, whatever the status was. Outcome: confirmed, does_not_fit (a smaller plan, see private.plan_excess), closed or unknown. It is granted to logins only, so that no member of the staff can assign a plan. Security definer, called by the web process, because no role may write plans and limits directly.';
grant execute on function private.confirm_plan(uuid, public.subscription_plan_enum, timestamptz)
  to neurant_app;

create function private.drop_stale_work(p_company uuid, p_now timestamptz) returns void
language sql volatile security definer set search_path = '' as $$
  -- Nobody wants an answer to what they asked a week ago; the messages stay, and people see them.
  delete from public.reply_requests r using public.conversations c
  where r.company_id = p_company and c.company_id = r.company_id and c.id = r.conversation_id
    and c.last_message_at < p_now - interval '1 day';
  with late as (
    update public.outbox o set status = 'cancelled', last_error = 'too_late'
    where o.company_id = p_company and o.status = 'pending'
      and o.created_at < p_now - interval '1 day'
    returning o.company_id, o.message_id
  )
  update public.messages m set status = 'cancelled'
  from late where m.company_id = late.company_id and m.id = late.message_id;
$$;
comment on function private.drop_stale_work(uuid, timestamptz) is
  'Drops the replies and deliveries of a returning company that have waited for more than a day. Security definer, called by other definers only, because no role may write the queues directly.';

create function private.paid_until(p_company uuid, p_now timestamptz) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select coalesce(
    (select a.period_end from public.billing_accounts a
      where a.company_id = p_company and a.status in ('active', 'trialing', 'past_due')
        and a.period_end > p_now),
    private.next_month_start(p_company, p_now))
$$;
comment on function private.paid_until(uuid, timestamptz) is
  'Returns when a company''s paid period ends: as the biller reported it, else the end of its month. Security definer, called by other definers only, because it reads the billing account for other definers.';

create function private.cancel_subscription(p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  update public.plan_requests r set status = 'withdrawn', decided_at = p_now
  where r.company_id = v_company.id and r.status = 'pending';
  if v_company.subscription_status = 'past_due' then
    return 'ended_' || private.fall_back(v_company.id, 'cancelled', p_now);
  elsif v_company.subscription_status <> 'active' or v_company.subscription_plan = 'free' then
    return 'nothing_to_cancel';
  elsif v_company.subscription_ends_at is null then
    update public.companies c
    set subscription_ends_at = (select private.paid_until(v_company.id, p_now)), next_plan = null,
      plan_change_scheduled_at = null
    where c.id = v_company.id;
  end if;
  return 'scheduled';
end $$;
comment on function private.cancel_subscription(timestamptz) is
  'The owner stops paying. Outcome: scheduled (for the end of the paid period), ended_free or ended_inactive (at once, if a payment is missing), nothing_to_cancel (free, a trial, inactive), closed or forbidden. Security definer, called by staff and API keys, because no role may write plans and status directly.';
grant execute on function private.cancel_subscription(timestamptz) to authenticated;

create function private.start_trial(
  p_plan public.subscription_plan_enum, p_days integer, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_plan public.plans;
begin
  if p_days not between 1 and 30 then
    raise exception 'a trial lasts 1 to 30 days' using errcode = 'check_violation';
  end if;
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  select p.* into v_plan from public.plans p where p.plan = p_plan;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  elsif v_company.trial_started_at is not null then
    return 'tried_before';
  elsif v_plan.monthly_price_usd is null then
    return 'not_for_sale';
  elsif v_company.subscription_plan <> 'free' or p_plan = 'free' then
    return 'nothing_to_try';
  end if;
  perform private.apply_plan(v_company.id, p_plan);
  update public.companies c
  set subscription_status = 'trialing', trial_started_at = p_now, subscription_started_at = p_now,
    subscription_ends_at = p_now + p_days * interval '1 day'
  where c.id = v_company.id;
  return 'started';
end $$;
comment on function private.start_trial(public.subscription_plan_enum, integer, timestamptz) is
  'The owner of a company on the free plan tries another plan; end_subscriptions() ends the trial. Outcome: started, tried_before, nothing_to_try (the company pays for a plan, or the free plan is requested), not_for_sale, closed or forbidden. Security definer, called by staff and API keys, because no role may write plans and status directly.';
grant execute on function private.start_trial(public.subscription_plan_enum, integer, timestamptz)
  to authenticated;

-- 24_message_quota.sql ---------------------------------------------------------------------------
-- The monthly quota of bot messages.

create table public.usage_slots (
  company_id uuid not null references public.companies (id),
  slot smallint not null check (slot between 0 and 63),
  used integer not null default 0 check (used >= 0),
  granted integer not null default 0,
  granted_until timestamptz not null default '-infinity',
  primary key (company_id, slot),
  check (used <= granted)
) with (fillfactor = 50);
comment on table public.usage_slots is
  'Bot messages that monthly_message_count does not contain yet, spread over slots so that concurrent writers do not wait for one another. A slot may use what it was granted; all grants together never exceed the limit.';
comment on column public.usage_slots.granted_until is
  'End of the month in which the allowance was granted. The first message after it closes the month.';

alter table public.usage_slots enable row level security, force row level security;
create policy router_select on public.usage_slots for select to neurant_router using (true);
create policy router_insert on public.usage_slots for insert to neurant_router with check (true);
create policy router_update on public.usage_slots for update to neurant_router
  using (true) with check (true);
grant select, insert, update on public.usage_slots to neurant_router;

create function private.set_monthly_anchor() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.monthly_anchor_day := extract(day from new.monthly_reset_date);
  return new;
end $$;

create trigger set_monthly_anchor before insert on public.companies
  for each row when (new.monthly_anchor_day is null) execute function private.set_monthly_anchor();

create function private.anchor_date(p_in date, p_day integer) returns date
language sql immutable strict set search_path = '' as $$
  select least(
    date_trunc('month', p_in::timestamp)::date + (p_day - 1),
    (date_trunc('month', p_in::timestamp) + interval '1 month - 1 day')::date)
$$;
comment on function private.anchor_date(date, integer) is
  'Returns the anchor day in the month of a date, or the last day of a month that is too short.';
grant execute on function private.anchor_date(date, integer) to neurant_router;

create function private.month_start(p_today date, p_day integer) returns date
language sql immutable strict set search_path = '' as $$
  select case
    when private.anchor_date(p_today, p_day) <= p_today then private.anchor_date(p_today, p_day)
    else private.anchor_date((p_today - interval '1 month')::date, p_day) end
$$;
comment on function private.month_start(date, integer) is
  'Returns the first day of the month that a day belongs to, counted from the anchor day.';
grant execute on function private.month_start(date, integer) to neurant_router;

create function private.lock_usage(p_company uuid) returns integer
language plpgsql security definer set search_path = '' as $$
begin
  -- In order, and only while the company's row is locked: whoever is counting now commits first.
  perform from public.usage_slots s where s.company_id = p_company order by s.slot for update;
  return (select coalesce(sum(s.used), 0) from public.usage_slots s where s.company_id = p_company);
end $$;
comment on function private.lock_usage(uuid) is
  'Locks the slots of a company, so that they cannot change, and returns the sum of their use. Security definer, called by other definers only, because no role may read or write the slots.';

create function private.drain_message_usage(p_company uuid) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_used integer;
begin
  perform from public.companies c where c.id = p_company for no key update;
  v_used := private.lock_usage(p_company);
  -- Takes unused grants back too (a trigger does), so idle slots do not hold room for ever.
  update public.usage_slots s set used = 0, granted = 0
  where s.company_id = p_company and s.granted > 0;
  if v_used > 0 then
    update public.companies c set monthly_message_count = c.monthly_message_count + v_used
    where c.id = p_company;
  end if;
  return v_used;
end $$;
comment on function private.drain_message_usage(uuid) is
  'Moves the counts of a company''s slots into monthly_message_count; returns their sum. Security definer, called by the worker process, because no role may write counters directly.';
grant execute on function private.drain_message_usage(uuid) to neurant_jobs;

create function private.companies_to_drain() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select distinct s.company_id from public.usage_slots s where s.used > 0 order by s.company_id
$$;
comment on function private.companies_to_drain() is
  'Returns the companies whose slots hold counts that monthly_message_count does not contain yet. Security definer, called by the worker process, because it reads all companies; it returns ids only.';
grant execute on function private.companies_to_drain() to neurant_jobs;

create function private.close_month(p_company uuid, p_now timestamptz) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_start date;
  v_count integer;
begin
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  v_start := private.month_start(
    (p_now at time zone v_company.timezone)::date, v_company.monthly_anchor_day);
  if v_start <= v_company.monthly_reset_date then
    return null;
  end if;
  v_count := v_company.monthly_message_count + private.lock_usage(p_company);
  update public.usage_slots s set used = 0, granted = 0
  where s.company_id = p_company and s.granted > 0;
  update public.companies c set monthly_message_count = 0, monthly_reset_date = v_start
  where c.id = p_company;
  return v_count;
end $$;
comment on function private.close_month(uuid, timestamptz) is
  'Begins the company''s new month, if one has begun at p_now. Returns the count of the old month, or null. Security definer, called by other definers only, because no role may write counters directly.';

create function private.reset_monthly_message_count(p_now timestamptz default now())
returns table (company_id uuid, counted integer)
language sql volatile security definer set search_path = '' as $$
  with due as materialized (
    select c.id from public.companies c
    where c.monthly_reset_date
      < private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day)
    order by c.id
  ),
  closed as materialized (
    select due.id, private.close_month(due.id, p_now) as counted from due
  )
  select closed.id, closed.counted from closed where closed.counted is not null
$$;
comment on function private.reset_monthly_message_count(timestamptz) is
  'Begins the new month of every company where one is due, by its anchor day and timezone; missed months are caught up at once. Returns the count of each old month. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.reset_monthly_message_count(timestamptz) to neurant_jobs;

create function private.draw_allowance(p_company uuid, p_slot smallint) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_used bigint;
  v_room bigint;
  v_slots integer;
  v_until timestamptz;
begin
  perform private.close_month(p_company, now());
  insert into public.usage_slots (company_id, slot) values (p_company, p_slot) on conflict do nothing;
  v_used := private.lock_usage(p_company);
  select c.* into v_company from public.companies c where c.id = p_company;
  select count(*) into v_slots from public.usage_slots s where s.company_id = p_company;
  v_used := v_used + v_company.monthly_message_count;
  v_room := case v_company.monthly_message_limit
    when -1 then 1000000000 else v_company.monthly_message_limit - v_used end;
  if v_room <= 0 then
    raise exception 'limit reached: monthly_message_limit' using errcode = 'NA002',
      detail = jsonb_build_object('limit', 'monthly_message_limit', 'used', v_used,
        'allowed', v_company.monthly_message_limit);
  end if;
  v_until := private.anchor_date(
    (date_trunc('month', v_company.monthly_reset_date::timestamp) + interval '1 month')::date,
    v_company.monthly_anchor_day)::timestamp at time zone v_company.timezone;
  update public.usage_slots s
  set used = s.used + (s.slot = p_slot)::integer,
    -- An equal share each; what does not divide goes to whoever asks.
    granted = s.used + v_room / v_slots
      + case when s.slot = p_slot then v_room % v_slots else 0 end,
    granted_until = v_until
  where s.company_id = p_company;
end $$;
comment on function private.draw_allowance(uuid, smallint) is
  'Counts one message when its slot has used up its grant: redistributes the rest of the month over the slots, or raises NA002. It locks all slots, and so waits for every message that is being counted; therefore it never refuses a message while there is room. Security definer, called by other definers only, because no role may read or write the slots.';

create function private.recall_allowance() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.lock_usage(new.id);
  update public.usage_slots s set granted = s.used
  where s.company_id = new.id and s.granted > s.used;
  return null;
end $$;
comment on function private.recall_allowance() is
  'Withdraws what was granted under a previous limit. Security definer, called by a trigger, because whoever changes a plan may not write the slots.';

create trigger recall_allowance
  after update of monthly_message_limit, monthly_message_count on public.companies
  for each row when (old.monthly_message_limit <> new.monthly_message_limit
    or old.monthly_message_count <> new.monthly_message_count)
  execute function private.recall_allowance();

create function private.message_usage(p_company uuid, p_now timestamptz default now())
returns integer
language sql stable security definer set search_path = '' as $$
  select case
    when c.monthly_reset_date
      < private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) then 0
    else c.monthly_message_count + coalesce((
      select sum(s.used) from public.usage_slots s where s.company_id = c.id), 0) end
  from public.companies c
  where c.id = p_company and c.id = (select private.company_id('company.read'))
$$;
comment on function private.message_usage(uuid, timestamptz) is
  'Returns the bot messages of the caller''s own company in the current month, exact at commit; null for any other company. Security definer, called by staff and API keys and the worker for one company, because no role may read the slots.';
grant execute on function private.message_usage(uuid, timestamptz) to authenticated,
  neurant_worker;

-- 25_billing.sql ---------------------------------------------------------------------------------
-- Billing: the subscription states that the biller reports.

create table public.billing_accounts (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  customer_ref text not null unique check (customer_ref ~ '^[A-Za-z0-9_-]{3,100}$'),
  subscription_ref text check (subscription_ref ~ '^[A-Za-z0-9_-]{3,100}$'),
  subscription_created timestamptz,
  status text check (status ~ '^[a-z_]{3,30}$'),
  plan public.subscription_plan_enum,
  period_end timestamptz,
  cancels_at_end boolean not null default false,
  told_at timestamptz,
  told_rank smallint,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  check ((subscription_ref is null) = (status is null))
);
comment on table public.billing_accounts is
  'The biller''s references for a company, and the newest state of its subscription there. One row per company, so that its writer holds a lock for the company.';
comment on column public.billing_accounts.told_at is
  'The biller''s own timestamp of that state. An event with an earlier timestamp is stale, whenever it arrives.';
comment on column public.billing_accounts.told_rank is
  'Order within one second: created, updated, deleted.';

alter table public.billing_accounts enable row level security, force row level security;
create policy staff_select on public.billing_accounts for select to authenticated
  using (company_id = (select private.company_id('billing.read')));
create policy router_select on public.billing_accounts for select to neurant_router using (true);
create policy router_insert on public.billing_accounts for insert to neurant_router with check (true);
create policy router_update on public.billing_accounts for update to neurant_router
  using (true) with check (true);
grant select on public.billing_accounts to authenticated;
grant select, insert, update on public.billing_accounts to neurant_router;

select private.audit_table('public.billing_accounts', 'company_id',
  '{subscription_created,plan,period_end,cancels_at_end}',
  '{customer_ref,subscription_ref,status}',
  '{}',
  '{told_at,told_rank,created_at,updated_at}');

create trigger set_updated_at before update on public.billing_accounts
  for each row execute function private.update_updated_at_column();

create table public.billing_events (
  event_ref text primary key check (event_ref ~ '^[A-Za-z0-9_-]{3,255}$'),
  kind text not null check (length(kind) between 1 and 100),
  happened_at timestamptz not null,
  facts jsonb not null check (jsonb_typeof(facts) = 'object'),
  company_id uuid references public.companies (id),
  outcome text check (outcome in ('applied', 'stale', 'ignored', 'unknown_customer', 'unknown_price')),
  received_at timestamptz not null default now(),
  decided_at timestamptz,
  check ((outcome is null) = (decided_at is null))
);
comment on table public.billing_events is
  'Platform table: the events that the biller sent. Each is stored once, before it is applied, however often it is sent. facts holds references and states, and no personal data.';
create index billing_events_company_idx on public.billing_events (company_id);
create index billing_events_open_idx on public.billing_events (happened_at) where outcome is null;
create index billing_events_unknown_idx on public.billing_events ((facts ->> 'customer'))
  where outcome = 'unknown_customer';

alter table public.billing_events enable row level security, force row level security;
create policy router_select on public.billing_events for select to neurant_router using (true);
create policy router_insert on public.billing_events for insert to neurant_router with check (true);
create policy router_update on public.billing_events for update to neurant_router
  using (true) with check (true);
grant select, insert on public.billing_events to neurant_router;
grant update (company_id, outcome, decided_at) on public.billing_events to neurant_router;

create function private.store_billing_event(
  p_event text, p_kind text, p_happened_at timestamptz, p_facts jsonb)
returns text
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.billing_events (event_ref, kind, happened_at, facts)
  values (p_event, p_kind, p_happened_at, p_facts)
  on conflict (event_ref) do nothing;
  return coalesce((select e.outcome from public.billing_events e where e.event_ref = p_event), 'open');
end $$;
comment on function private.store_billing_event(text, text, timestamptz, jsonb) is
  'Stores an event of the biller. Returns its outcome so far (open: it is still to be applied). Security definer, called by the web process, because a signature authenticates the biller, which is no principal.';
grant execute on function private.store_billing_event(text, text, timestamptz, jsonb) to
  neurant_app;

create function private.apply_billing_event(p_event text, p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_event public.billing_events;
  v_company uuid;
  v_outcome text;
  v_waiting text;
begin
  select e.* into v_event from public.billing_events e where e.event_ref = p_event for update;
  if v_event.event_ref is null then
    return 'unknown';
  elsif v_event.outcome <> 'unknown_customer' then
    return v_event.outcome;
  end if;
  if v_event.kind <> 'checkout.session.completed'
    and v_event.kind not like 'customer.subscription.%' then
    v_outcome := 'ignored';
  else
    v_company := private.billed_company(v_event.facts);
    v_outcome := case
      when v_company is null then 'unknown_customer'
      when v_event.kind = 'checkout.session.completed' then 'applied'
      else private.apply_billing_state(v_company, v_event.kind, v_event.happened_at, v_event.facts, p_now)
      end;
  end if;
  update public.billing_events e set outcome = v_outcome, decided_at = p_now, company_id = v_company
  where e.event_ref = p_event;
  if v_event.kind = 'checkout.session.completed' and v_company is not null then
    for v_waiting in
      select e.event_ref from public.billing_events e
      where e.outcome = 'unknown_customer' and e.facts ->> 'customer' = v_event.facts ->> 'customer'
      order by e.happened_at, e.event_ref
    loop
      perform private.apply_billing_event(v_waiting, p_now);
    end loop;
  end if;
  return v_outcome;
end $$;
comment on function private.apply_billing_event(text, timestamptz) is
  'Applies a stored event, once. Outcome: applied, stale (a newer state is known), ignored, unknown_customer (kept until a checkout names the company) or unknown_price. Security definer, called by the web process and the worker process, because no role may write plans and status directly.';
grant execute on function private.apply_billing_event(text, timestamptz) to neurant_app,
  neurant_jobs;

create function private.billed_company(p_facts jsonb) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_customer text := p_facts ->> 'customer';
  v_company uuid := (
    select a.company_id from public.billing_accounts a where a.customer_ref = v_customer);
begin
  if v_company is null and v_customer is not null then
    -- We told the biller ourselves whose checkout it is.
    select c.id into v_company from public.companies c
    where c.id::text = p_facts ->> 'company' for no key update;
    update public.billing_accounts a
    set customer_ref = v_customer, subscription_ref = null, subscription_created = null,
      status = null, plan = null, period_end = null, cancels_at_end = false, told_at = null,
      told_rank = null
    where a.company_id = v_company
      and coalesce(a.status, 'canceled') in ('canceled', 'incomplete_expired');
    if not found and exists (
      select from public.billing_accounts a where a.company_id = v_company) then
      return null;  -- it pays as another customer, and that one stands
    elsif not found then
      insert into public.billing_accounts (company_id, customer_ref)
      select v_company, v_customer where v_company is not null;
    end if;
  end if;
  return v_company;
end $$;
comment on function private.billed_company(jsonb) is
  'Returns the company of an event: by the biller''s customer, or by the company id that we passed to the checkout. Security definer, called by other definers only, because it reads and writes billing accounts, which no role may write directly.';

create function private.apply_billing_state(
  p_company uuid, p_kind text, p_happened_at timestamptz, p_facts jsonb, p_now timestamptz)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_known public.billing_accounts;
  v_status text := p_facts ->> 'status';
  v_plan public.subscription_plan_enum := (select p.plan from public.plans p
    where p.plan::text = p_facts ->> 'plan');
  v_rank smallint := case p_kind when 'customer.subscription.created' then 0
    when 'customer.subscription.deleted' then 2 else 1 end;
  v_created timestamptz := (p_facts ->> 'subscription_created')::timestamptz;
begin
  -- The company before its account, as everywhere.
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  select a.* into v_known from public.billing_accounts a where a.company_id = p_company for update;
  if v_known.subscription_ref is distinct from p_facts ->> 'subscription' then
    -- Another subscription counts if it began later and is one at all.
    if v_status like 'incomplete%' or v_known.subscription_created > v_created then
      return 'stale';
    end if;
  elsif (p_happened_at, v_rank) < (v_known.told_at, v_known.told_rank)
    or v_known.status in ('canceled', 'incomplete_expired') then
    return 'stale';
  end if;
  if v_plan is null and v_status in ('active', 'trialing') then
    return 'unknown_price';
  end if;
  update public.billing_accounts a
  set subscription_ref = p_facts ->> 'subscription', subscription_created = v_created,
    status = v_status, plan = coalesce(v_plan, a.plan),
    period_end = (p_facts ->> 'period_end')::timestamptz,
    cancels_at_end = coalesce((p_facts ->> 'cancels_at_end')::boolean, false),
    told_at = p_happened_at, told_rank = v_rank
  where a.company_id = p_company;
  if v_company.subscription_status = 'cancelled' then
    perform private.note_billing_while_closed(p_company, v_status, p_now);
  elsif v_status in ('active', 'trialing') then
    perform private.follow_payment(v_company, v_known, v_plan, p_now);
  elsif v_status in ('past_due', 'unpaid', 'paused') then
    perform private.set_past_due(p_company, p_now);
  elsif v_status = 'canceled' and v_known.status is distinct from 'canceled'
    and v_company.subscription_status in ('active', 'past_due')
    and v_company.subscription_plan <> 'free' then
    perform private.fall_back(p_company, 'payment_ended', p_now);
  end if;
  return 'applied';
end $$;
comment on function private.apply_billing_state(uuid, text, timestamptz, jsonb, timestamptz) is
  'Applies the state of a subscription to its company. Outcome: applied, stale or unknown_price. The newer state by the biller''s clock wins; an ended subscription stays ended. Security definer, called by other definers only, because no role may write plans and status directly.';

create function private.follow_payment(
  p_company public.companies, p_known public.billing_accounts,
  p_plan public.subscription_plan_enum, p_now timestamptz)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_is_new boolean := p_known.plan is distinct from p_plan
    or coalesce(p_known.status, '') not in ('active', 'trialing');
  v_account public.billing_accounts;
begin
  -- Only what changed at the biller: it may be late to hear of a change that began here.
  if v_is_new and private.confirm_plan(p_company.id, p_plan, p_now) = 'does_not_fit' then
    update public.companies c
    set next_plan = p_plan, plan_change_scheduled_at = p_now, subscription_status = 'active',
      subscription_ends_at = null
    where c.id = p_company.id;
  end if;
  select a.* into v_account from public.billing_accounts a where a.company_id = p_company.id;
  if v_is_new or v_account.cancels_at_end is distinct from p_known.cancels_at_end
    or v_account.period_end is distinct from p_known.period_end then
    update public.companies c
    set subscription_ends_at = case when v_account.cancels_at_end
      then greatest(v_account.period_end, c.subscription_started_at) end
    where c.id = p_company.id and c.subscription_status = 'active'
      and (v_account.cancels_at_end or p_known.cancels_at_end);
  end if;
end $$;
comment on function private.follow_payment(public.companies, public.billing_accounts, public.subscription_plan_enum, timestamptz) is
  'Begins the plan that is paid for; a smaller plan that does not fit yet is scheduled until it does. Security definer, called by other definers only, because no role may write plans and status directly.';

create function private.note_billing_while_closed(
  p_company uuid, p_status text, p_now timestamptz)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.companies c
  set status_before_closing = 'active', ends_before_closing = p_now
  where c.id = p_company and p_status = 'canceled' and c.subscription_plan <> 'free'
    and c.status_before_closing in ('active', 'past_due')
$$;
comment on function private.note_billing_while_closed(uuid, text, timestamptz) is
  'Notes that the payment of a closed company ended, so that after reopening it falls back within a minute. Security definer, called by other definers only, because no role may write a company''s status directly.';

create function private.open_billing_events() returns setof text
language sql stable security definer set search_path = '' as $$
  select e.event_ref from public.billing_events e
  where e.outcome is null and e.received_at < now() - interval '1 minute'
  order by e.happened_at, e.event_ref limit 100
$$;
comment on function private.open_billing_events() is
  'Returns the stored events that were never applied because their process ended in between. Security definer, called by the worker process, because it reads all companies; it returns references only.';
grant execute on function private.open_billing_events() to neurant_jobs;

create function private.billing_to_tell()
returns table (company_id uuid, subscription_ref text, plan public.subscription_plan_enum,
  cancels_at_end boolean, plan_changes boolean)
language sql stable security definer set search_path = '' as $$
  select a.company_id, a.subscription_ref, w.plan, w.cancels, w.plan <> a.plan
  from public.billing_accounts a
  join public.companies c on c.id = a.company_id
  cross join lateral (select
    case when c.subscription_plan = 'free' then a.plan else c.subscription_plan end as plan,
    case when c.subscription_plan = 'free' or c.subscription_status in ('cancelled', 'inactive') then true
      when c.subscription_status = 'active' then c.subscription_ends_at is not null
      -- Whoever cancelled and then did not pay has still cancelled.
      else a.cancels_at_end end as cancels) w
  where a.status in ('active', 'trialing', 'past_due', 'unpaid')
    and (w.plan <> a.plan and c.next_plan is null or w.cancels <> a.cancels_at_end)
  order by a.company_id limit 100
$$;
comment on function private.billing_to_tell() is
  'Returns the subscriptions of which the biller must be notified: cancelled or made smaller here, or of a closed or inactive company. Security definer, called by the worker process, because it reads all companies.';
grant execute on function private.billing_to_tell() to neurant_jobs;

create function private.note_billing_told(
  p_company uuid, p_plan public.subscription_plan_enum, p_cancels_at_end boolean, p_at timestamptz)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.billing_accounts a
  set plan = p_plan, cancels_at_end = p_cancels_at_end,
    told_at = greatest(a.told_at, date_trunc('second', p_at)), told_rank = 1
  where a.company_id = p_company
$$;
comment on function private.note_billing_told(uuid, public.subscription_plan_enum, boolean, timestamptz) is
  'Notes that the biller accepted a change at that time, so that earlier reports are stale. Security definer, called by the worker process, because no role may write billing_accounts directly.';
grant execute on function private.note_billing_told(uuid, public.subscription_plan_enum, boolean,
  timestamptz) to neurant_jobs;

-- 30_account_brakes.sql --------------------------------------------------------------------------
-- Throttling of logins: how often an address or an account may try.

create table public.account_brakes (
  key_digest bytea primary key check (octet_length(key_digest) = 32),
  attempts integer not null default 0 check (attempts >= 0),
  locked_until timestamptz,
  mailed_at timestamptz[] not null default '{}',
  touched_at timestamptz not null
);
comment on table public.account_brakes is
  'Attempts and mails by login, by login and address, and by address, shared by all web processes, so that guessing and mailing are throttled. It holds digests only.';
create index account_brakes_touched_idx on public.account_brakes (touched_at);

alter table public.account_brakes enable row level security, force row level security;
create policy router_select on public.account_brakes for select to neurant_router using (true);
create policy router_insert on public.account_brakes for insert to neurant_router with check (true);
create policy router_update on public.account_brakes for update to neurant_router using (true) with check (true);
create policy router_delete on public.account_brakes for delete to neurant_router using (true);
grant select, insert, delete on public.account_brakes to neurant_router;
grant update (attempts, locked_until, mailed_at, touched_at) on public.account_brakes to
  neurant_router;

create table private.attempts (
  id uuid primary key default uuidv7(),
  kind text not null check (kind in ('found_company', 'check_company_name')),
  address inet not null,
  attempted_at timestamptz not null default now()
);
comment on table private.attempts is
  'Attempts of the last day by people who are not signed in, by address, for the limits on them.';
create index attempts_address_idx on private.attempts (kind, address, attempted_at);
create index attempts_age_idx on private.attempts (attempted_at);

alter table private.attempts enable row level security, force row level security;
create policy router_select on private.attempts for select to neurant_router using (true);
create policy router_insert on private.attempts for insert to neurant_router with check (true);
create policy router_delete on private.attempts for delete to neurant_router using (true);
grant select, insert, delete on private.attempts to neurant_router;

create function private.brake(
  p_kind text, p_email text, p_address inet, p_now timestamptz default now(),
  p_device text default null)
returns table (wait integer, next_wait integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_wait interval := '0';
  v_next interval := '0';
  v_known public.account_brakes;
  v_key record;
begin
  -- In one order for everybody: whoever counts the same keys waits, and none waits for another's.
  for v_key in
    select k.* from private.brake_keys(p_kind, p_email, p_address, p_device) k order by k.key
  loop
    insert into public.account_brakes as b (key_digest, touched_at) values (v_key.key, p_now)
    on conflict (key_digest) do update
    set attempts = case when b.touched_at < p_now - interval '1 day' then 0 else b.attempts end,
      touched_at = greatest(b.touched_at, p_now)
    returning b.* into v_known;
    v_wait := greatest(v_wait, v_known.locked_until - p_now);
  end loop;
  if v_wait <= interval '0' then
    for v_key in select k.* from private.brake_keys(p_kind, p_email, p_address, p_device) k loop
      update public.account_brakes b set attempts = b.attempts + 1
      where b.key_digest = v_key.key
      returning b.* into v_known;
      if v_known.attempts >= v_key.free then
        v_known.locked_until := p_now + least(
          v_key.longest, interval '5 seconds' * 2 ^ least(v_known.attempts - v_key.free, 16));
        update public.account_brakes b set locked_until = v_known.locked_until
        where b.key_digest = v_key.key;
        v_next := greatest(v_next, v_known.locked_until - p_now);
      end if;
    end loop;
  end if;
  return query select ceil(extract(epoch from greatest(v_wait, '0')))::integer,
    ceil(extract(epoch from v_next))::integer;
end $$;
comment on function private.brake(text, text, inet, timestamptz, text) is
  'Counts an attempt before it is checked, so that concurrent attempts count as well. wait: seconds that must pass first (the attempt was then not counted and does not lengthen the wait), or 0; next_wait: seconds before another attempt, should this one fail. The wait doubles from 5 seconds; the counter is reset after a day without attempts. p_device: the device of a cookie that the process verified. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.brake(text, text, inet, timestamptz, text) to neurant_app;

create function private.brake_keys(p_kind text, p_email text, p_address inet, p_device text)
returns table (key bytea, free integer, longest interval)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_kind, k.scope, k.value), 'UTF8')), k.free, k.longest
  from (
    -- Whoever has one IPv6 address has its whole /64.
    select host(network(set_masklen(p_address, case family(p_address) when 4 then 32 else 64 end)))
      as address) a
  cross join lateral (values
    ('password', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('password', 'pair', case when p_device is null then p_email || '|' || coalesce(a.address, '') end,
      5, interval '15 minutes'),
    ('password', 'login', case when p_device is null then p_email end, 30, interval '5 minutes'),
    ('password', 'address', a.address, 50, interval '1 minute'),
    ('code', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('code', 'login', case when p_device is null then p_email end, 5, interval '15 minutes'),
    ('sign_up', 'address', a.address, 20, interval '15 minutes'),
    ('reset', 'address', a.address, 20, interval '15 minutes'),
    ('sso', 'address', a.address, 60, interval '1 minute')
  ) k (kind, scope, value, free, longest)
  where k.kind = p_kind and k.value is not null
$$;
comment on function private.brake_keys(text, text, inet, text) is
  'Returns the keys that an attempt counts against, with the free attempts and the longest wait of each. A stranger can delay other strangers at a login by five minutes at most, and never a person on a device proven before (p_device); people at the same address wait a minute at most. Loopback is an address like any other, because the process passes on the client behind a trusted proxy. An attempt without an address counts against no address.';
grant execute on function private.brake_keys(text, text, inet, text) to neurant_router;

create function private.release_brake(
  p_kind text, p_email text, p_address inet, p_device text default null) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from public.account_brakes b
  where b.key_digest in (
    select k.key from private.brake_keys(p_kind, p_email, p_address, p_device) k)
  order by b.key_digest for update;
  update public.account_brakes b
  set attempts = case when k.is_shared then greatest(b.attempts - 1, 0) else 0 end,
    locked_until = case when not k.is_shared or b.attempts <= k.free then null else b.locked_until end
  from (
    select s.key, s.free, s.free >= 20 as is_shared
    from private.brake_keys(p_kind, p_email, p_address, p_device) s) k
  where b.key_digest = k.key;
end $$;
comment on function private.release_brake(text, text, inet, text) is
  'Resets, after a successful check, the keys of the person; keys that others share lose only this attempt. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.release_brake(text, text, inet, text) to neurant_app;

create function private.allow_mail(
  p_purpose text, p_email text, p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_key bytea := private.mail_key(p_purpose, p_email);
  v_day timestamptz[];
  v_hour timestamptz[];
begin
  insert into public.account_brakes as b (key_digest, touched_at) values (v_key, p_now)
  on conflict (key_digest) do update set touched_at = greatest(b.touched_at, p_now);
  select coalesce(array_agg(s.at order by s.at), '{}') into v_day
  from public.account_brakes b cross join lateral unnest(b.mailed_at) s (at)
  where b.key_digest = v_key and s.at > p_now - interval '1 day';
  v_hour := array(select s.at from unnest(v_day) s (at) where s.at > p_now - interval '1 hour' order by s.at);
  if v_day[cardinality(v_day)] > p_now - interval '60 seconds' then
    return ceil(extract(epoch from v_day[cardinality(v_day)] + interval '60 seconds' - p_now));
  elsif cardinality(v_hour) >= 5 then
    return ceil(extract(epoch from v_hour[1] + interval '1 hour' - p_now));
  elsif cardinality(v_day) >= 30 then
    return ceil(extract(epoch from v_day[1] + interval '1 day' - p_now));
  end if;
  update public.account_brakes b set mailed_at = v_day || p_now where b.key_digest = v_key;
  return 0;
end $$;
comment on function private.allow_mail(text, text, timestamptz) is
  'Returns 0 and counts a mail, if an address may be written to for this purpose (sign_up, verification, reset); else the seconds until then. The limits: one a minute, five an hour, thirty a day; addresses without an account count alike. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.allow_mail(text, text, timestamptz) to neurant_app;

create function private.mail_key(p_purpose text, p_email text) returns bytea
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', 'mail', p_purpose, p_email), 'UTF8'))
$$;
comment on function private.mail_key(text, text) is
  'Returns the key that mails to an address count against, by purpose. The address itself is not stored.';
grant execute on function private.mail_key(text, text) to neurant_router;

create function private.try_once_more(
  p_kind text, p_address inet, p_most integer, p_within interval, p_now timestamptz)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_tried integer;
begin
  if p_address is null then
    return true;
  end if;
  -- Two at once from one address are counted one after the other.
  perform pg_advisory_xact_lock(hashtextextended(p_kind || ' ' || host(p_address), 0));
  delete from private.attempts a where a.attempted_at < p_now - interval '1 day';
  select count(*) into v_tried from private.attempts a
  where a.kind = p_kind and a.address = p_address and a.attempted_at > p_now - p_within;
  if v_tried >= p_most then
    return false;
  end if;
  insert into private.attempts (kind, address, attempted_at) values (p_kind, p_address, p_now);
  return true;
end $$;
comment on function private.try_once_more(text, inet, integer, interval, timestamptz) is
  'Counts an attempt from an address; returns false if the address has used up its number. Without an address (a socket of this machine) there is no limit. Security definer, called by other definers only, because the caller is not signed in.';

-- 31_accounts.sql --------------------------------------------------------------------------------
-- Accounts: the logins of people and their sessions, across companies.

create table public.auth_accounts (
  auth_user_id uuid primary key references auth.users (id) on delete cascade,
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  terms_accepted_at timestamptz,
  created_at timestamptz not null default now(),
  constraint auth_accounts_names_read_check check ((first_name = '' or private.reads_as_name(first_name))
    and (last_name = '' or private.reads_as_name(last_name)))
);
comment on table public.auth_accounts is
  'People who signed up by themselves, or by an invitation if the installation has terms: their names until they have a company, and when they accepted the terms, if there are any.';

alter table public.auth_accounts enable row level security, force row level security;
create policy router_select on public.auth_accounts for select to neurant_router using (true);
create policy router_insert on public.auth_accounts for insert to neurant_router with check (true);
grant select, insert on public.auth_accounts to neurant_router;

create table public.auth_sessions (
  id uuid primary key default uuidv7(),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  ip_address inet,
  user_agent text,
  only_company_id uuid references public.companies (id) on delete cascade,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ends_at timestamptz,
  idle_after interval
);
comment on table public.auth_sessions is
  'A signed-in person, in one company or in none (yet). login_sessions is the part of the session that belongs to a company, with the same token.';
comment on column public.auth_sessions.only_company_id is
  'The company whose identity provider opened the session, which therefore leads into no other company. Null: the person''s own password opened it.';
comment on column public.auth_sessions.expires_at is
  'When the session ends unless it is used before: idle_after later than last_seen_at, and never later than ends_at.';
comment on column public.auth_sessions.idle_after is
  'Null: the session is older than this limit, and ends at expires_at.';
create index auth_sessions_only_company_idx on public.auth_sessions (only_company_id)
  where only_company_id is not null;
create index auth_sessions_user_idx on public.auth_sessions (auth_user_id);
create index auth_sessions_ended_idx on public.auth_sessions (expires_at);

alter table public.auth_sessions enable row level security, force row level security;
create policy router_select on public.auth_sessions for select to neurant_router using (true);
create policy router_insert on public.auth_sessions for insert to neurant_router with check (true);
create policy router_update on public.auth_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.auth_sessions for delete to neurant_router using (true);
grant select, insert, delete on public.auth_sessions to neurant_router;
grant update (token_digest, last_seen_at) on public.auth_sessions to neurant_router;

create table private.session_rules (
  is_there boolean primary key default true check (is_there),
  idle_after interval not null default '1 hour' check (idle_after > interval '0'),
  kept_idle_after interval not null default '7 days' check (kept_idle_after > interval '0')
);
comment on table private.session_rules is
  'One row: after how long without use a session ends, for people who chose to stay signed in (kept) and for everybody else. The web process writes the installation''s setting.';

alter table private.session_rules enable row level security, force row level security;
create policy router_select on private.session_rules for select to neurant_router using (true);
create policy router_update on private.session_rules for update to neurant_router using (true) with check (true);
grant select on private.session_rules to neurant_router;
grant update (idle_after, kept_idle_after) on private.session_rules to neurant_router;

create function private.create_login(p_email text, p_encrypted_password text, p_is_confirmed boolean DEFAULT false) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid;
begin
  insert into auth.users (email, encrypted_password, email_confirmed_at)
  values (lower(p_email), p_encrypted_password, case when p_is_confirmed then now() end)
  returning id into v_login;
  return v_login;
exception when unique_violation then
  -- Proven now by its mailbox: a login that only a provider made becomes its owner's.
  if p_is_confirmed then
    update auth.users a
    set encrypted_password = p_encrypted_password, email_confirmed_at = now(), updated_at = now()
    where lower(a.email) = lower(p_email) and a.email_confirmed_at is null
      and coalesce(a.encrypted_password, '') = ''
    returning a.id into v_login;
    perform private.leave_nothing_of_others(v_login);
  end if;
  return v_login;
end $$;
comment on function private.create_login(text, text, boolean) is
  'Creates a login; returns null if the address has one. p_is_confirmed: the mailbox is proven; a login that an identity provider created, without a password and unconfirmed, then becomes its owner''s. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.create_login(text, text, boolean) to neurant_app;

create function private.login_lookup(p_email text)
returns table (auth_user_id uuid, encrypted_password text)
language sql stable security definer set search_path = '' as $$
  select a.id, a.encrypted_password from auth.users a where lower(a.email) = lower(p_email)
$$;
comment on function private.login_lookup(text) is
  'Returns the login of an e-mail address, to check a password against. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.login_lookup(text) to neurant_app;

create function private.note_login_event(
  p_auth_user uuid, p_action public.audit_action_enum, p_details jsonb)
returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, p_action, 'logins', null, p_details, u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
$$;
comment on function private.note_login_event(uuid, public.audit_action_enum, jsonb) is
  'Writes an event of a login into the audit log of each of its companies. Security definer, called by other definers only, because no role may write audit, and a login belongs to no company.';

create function private.note_login_event(
  p_auth_user uuid, p_action public.audit_action_enum, p_details jsonb, p_only_company uuid)
returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, p_action, 'logins', null, p_details, u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
    and (p_only_company is null or u.company_id = p_only_company)
$$;
comment on function private.note_login_event(uuid, public.audit_action_enum, jsonb, uuid) is
  'Writes an event of a login into the audit log: of one company only, if the session is limited to that company. Security definer, called by other definers only, because no role may write audit, and a login belongs to no company.';

create function private.note_refused_login(p_auth_user uuid, p_reason text, p_wait integer) returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, 'login_denied', 'login_sessions', null,
    jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'locked_seconds', nullif(p_wait, 0))), u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
$$;
comment on function private.note_refused_login(uuid, text, integer) is
  'Writes a wrong password or code for a known login into the audit log of each of its companies, with the length of the lock. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.note_refused_login(uuid, text, integer) to neurant_app;

create function private.open_session(
  p_auth_user uuid, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval,
  p_company uuid default null)
returns table (session_id uuid, company_id uuid, user_id uuid, expires_at timestamptz)
language plpgsql security definer set search_path = '' as $$
declare
  v_session public.auth_sessions;
  v_entered record;
begin
  insert into public.auth_sessions as a (auth_user_id, token_digest, ip_address, user_agent, expires_at)
  select l.id, p_token_digest, p_ip, p_user_agent, now() + p_lifetime
  from auth.users l where l.id = p_auth_user
  returning a.* into v_session;
  if v_session.id is null then
    return;
  end if;
  select e.* into v_entered from private.enter_company(p_token_digest, p_company) e;
  if p_company is not null and v_entered.company_id is null then
    delete from public.auth_sessions a where a.id = v_session.id;
    return;
  end if;
  update auth.users l set last_sign_in_at = now(), updated_at = now() where l.id = p_auth_user;
  return query select v_session.id, v_entered.company_id, v_entered.user_id, v_session.expires_at;
end $$;
comment on function private.open_session(uuid, bytea, inet, text, interval, uuid) is
  'Opens a session: in the named company (no row if the person may not enter it), else in the company worked in last, else in none (company_id is null). Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.open_session(uuid, bytea, inet, text, interval, uuid) to
  neurant_app;

create function private.find_auth_session(p_token_digest bytea) RETURNS TABLE(session_id uuid, auth_user_id uuid, email text, first_name text, last_name text, company_id uuid, user_id uuid, created_at timestamptz, expires_at timestamptz, is_limited boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update public.auth_sessions a set last_seen_at = now()
  where a.token_digest = p_token_digest and a.last_seen_at < now() - interval '1 minute';
  return query
  select a.id, a.auth_user_id, lower(l.email),
    coalesce(u.first_name, p.first_name, k.first_name)::text,
    coalesce(u.last_name, p.last_name, k.last_name)::text,
    u.company_id, u.id, a.created_at, a.expires_at, a.only_company_id is not null
  from public.auth_sessions a
  join auth.users l on l.id = a.auth_user_id
  left join public.login_sessions s on s.auth_session_id = a.id
  left join public.users u on u.company_id = s.company_id and u.id = s.user_id and u.is_active
  left join public.auth_accounts p on p.auth_user_id = a.auth_user_id
    and a.only_company_id is null
  left join lateral (
    select o.first_name, o.last_name from public.users o where o.auth_user_id = a.auth_user_id
      and (a.only_company_id is null or o.company_id = a.only_company_id)
    order by o.created_at desc limit 1) k on true
  where a.token_digest = p_token_digest and a.expires_at > now();
end $$;
comment on function private.find_auth_session(bytea) is
  'Returns the person of a session, also one without a company (company_id is then null). is_limited: a company''s single sign-on opened it, and own_login refuses it. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.find_auth_session(bytea) to neurant_app;

create function private.my_companies(p_token_digest bytea)
returns table (
  company_id uuid, name text, slug text, role public.user_role_enum, is_current boolean)
language sql stable security definer set search_path = '' as $$
  select c.id, c.name::text, c.slug::text, u.role,
    exists (
      select from public.login_sessions s
      where s.company_id = u.company_id and s.user_id = u.id and s.auth_session_id = a.id)
  from public.auth_sessions a
  join public.users u on u.auth_user_id = a.auth_user_id and u.is_active
    and (a.only_company_id is null or u.company_id = a.only_company_id)
  join public.companies c on c.id = u.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by c.name, c.id
$$;
comment on function private.my_companies(bytea) is
  'Returns the companies that the person of this session may enter. Security definer, called by the web process, because no principal may read two companies at once.';
grant execute on function private.my_companies(bytea) to neurant_app;

create function private.my_sessions(p_token_digest bytea)
returns table (
  session_id uuid, ip_address inet, user_agent text, company_name text, created_at timestamptz,
  last_seen_at timestamptz, expires_at timestamptz, is_current boolean)
language sql stable security definer set search_path = '' as $$
  select o.id, o.ip_address, o.user_agent, c.name::text, o.created_at,
    greatest(o.last_seen_at, s.last_seen_at), o.expires_at, o.id = a.id
  from public.auth_sessions a
  join public.auth_sessions o on o.auth_user_id = a.auth_user_id and o.expires_at > now()
    and (a.only_company_id is null or o.only_company_id = a.only_company_id)
  left join public.login_sessions s on s.auth_session_id = o.id
  left join public.companies c on c.id = s.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by o.id = a.id desc, greatest(o.last_seen_at, s.last_seen_at) desc, o.id
$$;
comment on function private.my_sessions(bytea) is
  'Returns the sessions of the person of this session, this one first. Security definer, called by the web process, because sessions belong to the person, not to a company.';
grant execute on function private.my_sessions(bytea) to neurant_app;

create function private.end_sessions(p_token_digest bytea, p_session uuid) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_mine public.auth_sessions;
  v_ended integer;
begin
  select a.* into v_mine from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now();
  with gone as (
    delete from public.auth_sessions a
    where a.auth_user_id = v_mine.auth_user_id and a.expires_at > now()
      and (v_mine.only_company_id is null or a.only_company_id = v_mine.only_company_id)
      and case when p_session is null then a.id <> v_mine.id else a.id = p_session end
    returning a.id
  )
  select count(*) into v_ended from gone;
  if v_ended > 0 then
    perform private.note_login_event(v_mine.auth_user_id, 'update',
      jsonb_build_object('event', 'sessions_ended', 'count', v_ended), v_mine.only_company_id);
  end if;
  return v_ended;
end $$;
comment on function private.end_sessions(bytea, uuid) is
  'Ends one session of the same person, or (null) all but this one; returns their number. Security definer, called by the web process, because sessions belong to the person, not to a company.';
grant execute on function private.end_sessions(bytea, uuid) to neurant_app;

create function private.renew_session(p_token_digest bytea, p_new_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  update public.login_sessions s set token_digest = p_new_digest where s.token_digest = p_token_digest;
  update public.auth_sessions a set token_digest = p_new_digest where a.token_digest = p_token_digest
$$;
comment on function private.renew_session(bytea, bytea) is
  'Gives a session a new token, so that a copied old token is worthless. Security definer, called by other definers only, because no role may write sessions directly.';

create function private.forget_old_accounts(p_now timestamptz default now())
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_gone integer;
  v_all integer := 0;
begin
  delete from public.sign_ups s where s.created_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.password_resets r where r.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.login_challenges c where c.expires_at < p_now;
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  -- For an hour somebody who comes back late is still told that it was too late.
  delete from public.sso_attempts a where a.expires_at < p_now - interval '1 hour';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.account_brakes b where b.touched_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.auth_sessions a where a.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  return v_all + v_gone;
end $$;
comment on function private.forget_old_accounts(timestamptz) is
  'Deletes sign-ups, links, throttle counters and sessions that ended days ago, and single sign-ons that ended an hour ago; returns the number. Security definer, called by the worker process, because these rows belong to no company.';
grant execute on function private.forget_old_accounts(timestamptz) to neurant_jobs;

create function private.begin_idling() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_table_name = 'login_sessions' then
    select a.ends_at, a.idle_after into new.ends_at, new.idle_after
    from public.auth_sessions a where a.id = new.auth_session_id;
  end if;
  new.ends_at := coalesce(new.ends_at, new.expires_at);
  new.idle_after := coalesce(new.idle_after, (
    -- Who asked to stay signed in has a session of more than a day.
    select case when new.ends_at > now() + interval '1 day' then r.kept_idle_after else r.idle_after end
    from private.session_rules r), interval '1 hour');
  new.expires_at := least(new.expires_at, new.ends_at, new.last_seen_at + new.idle_after);
  return new;
end $$;
comment on function private.begin_idling() is
  'Gives every new session an absolute end and a limit on idleness, whoever opens it; a company''s part of a session takes those of the whole. Security definer, called by a trigger, because sessions and their rules are closed to other roles.';

create trigger begin_idling before insert on public.auth_sessions
  for each row execute function private.begin_idling();

create function private.slide_session() returns trigger
language plpgsql set search_path = '' as $$
begin
  if old.expires_at <= now() or current_setting('request.is_passive', true) = 'on' then
    new.last_seen_at := old.last_seen_at;
  elsif new.idle_after is not null then
    new.expires_at := least(new.ends_at, new.last_seen_at + new.idle_after);
  end if;
  return new;
end $$;
comment on function private.slide_session() is
  'Extends a session when it is used, up to its absolute end. An ended session stays ended, and requests that a page makes by itself (request.is_passive) do not count as use.';

create trigger slide_session before update of last_seen_at on public.auth_sessions
  for each row execute function private.slide_session();

create function private.share_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if pg_trigger_depth() > 1 or new.last_seen_at = old.last_seen_at then
    return null;
  end if;
  -- Nobody waits for another request of the same session: what is skipped is done a minute later.
  if tg_table_name = 'login_sessions' then
    update public.auth_sessions a set last_seen_at = new.last_seen_at
    where a.id in (
      select l.id from public.auth_sessions l where l.id = new.auth_session_id for update skip locked);
  else
    update public.login_sessions s set last_seen_at = new.last_seen_at
    where (s.company_id, s.id) in (
      select l.company_id, l.id from public.login_sessions l
      where l.auth_session_id = new.id for update skip locked);
  end if;
  return null;
end $$;
comment on function private.share_use() is
  'Copies the time of use between a person''s session and the company''s part of it. It skips rows that another request has locked, so that requests of one session never wait for one another. Security definer, called by a trigger, because no role may write sessions directly.';

create trigger share_use after update of last_seen_at on public.auth_sessions
  for each row execute function private.share_use();

create function private.set_session_rules(p_idle interval, p_kept_idle interval) returns void
language sql volatile security definer set search_path = '' as $$
  update private.session_rules r set idle_after = p_idle, kept_idle_after = p_kept_idle
  where (r.idle_after, r.kept_idle_after) is distinct from (p_idle, p_kept_idle)
$$;
comment on function private.set_session_rules(interval, interval) is
  'Sets the installation''s limits on idleness, for sessions that begin from now on. Security definer, called by the web process, because a process acts for no company.';
grant execute on function private.set_session_rules(interval, interval) to neurant_app;

create function private.ended_by_idleness(p_token_digest bytea) returns boolean
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select a.expires_at <= now() and a.ends_at > now()
    from public.auth_sessions a where a.token_digest = p_token_digest), false)
$$;
comment on function private.ended_by_idleness(bytea) is
  'Returns whether the session of this token ended only because it was not used. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.ended_by_idleness(bytea) to neurant_app;

create function private.own_login(p_token_digest bytea) returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_session public.auth_sessions;
begin
  select a.* into v_session from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now();
  if v_session.only_company_id is not null then
    raise exception 'the session is limited to one company' using errcode = 'NA006';
  end if;
  return v_session.auth_user_id;
end $$;
comment on function private.own_login(bytea) is
  'Returns the login that a session may change; null if the session has ended, error NA006 if a company''s single sign-on opened it, because that company''s provider does not speak for the login. Every function that changes a login, or something outside the company, calls it. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.own_login(bytea) to neurant_app;

create function private.refuse_told_session() returns void
language plpgsql stable security definer set search_path = '' as $$
declare
  v_told text := nullif(current_setting('request.audit', true), '')::jsonb ->> 'session_id';
begin
  if pg_input_is_valid(v_told, 'uuid') and exists (
    select from public.auth_sessions a
    where a.id = v_told::uuid and a.only_company_id is not null)
  then
    raise exception 'the session is limited to one company' using errcode = 'NA006';
  end if;
end $$;
comment on function private.refuse_told_session() is
  'Applies the rule of own_login to functions that a process of the previous version calls with a login instead of a session: it takes the session from the audit trail of the transaction. Security definer, called by other definers only, because sessions are closed to other roles.';

create function private.end_auth_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.auth_sessions a where a.id = old.auth_session_id;
  return null;
end $$;
comment on function private.end_auth_session() is
  'Ends a person''s session that an identity provider opened when its part in the company ends; otherwise it could enter the company again without the provider. Security definer, called by a trigger, because no role may delete sessions directly.';

-- 32_sign_up.sql ---------------------------------------------------------------------------------
-- Sign-up: an account by mail, and the founding of a company.

create table public.sign_ups (
  id uuid primary key default uuidv7(),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  encrypted_password text not null,
  pending_digest bytea not null unique check (octet_length(pending_digest) = 32),
  link_digest bytea unique check (octet_length(link_digest) = 32),
  link_expires_at timestamptz not null,
  code_digest bytea check (octet_length(code_digest) = 32),
  code_expires_at timestamptz not null,
  code_attempts smallint not null default 0,
  terms_accepted_at timestamptz,
  created_at timestamptz not null,
  auth_user_id uuid references auth.users (id) on delete cascade,
  verified_at timestamptz,
  claimed_at timestamptz,
  check ((verified_at is null) = (auth_user_id is null)),
  constraint sign_ups_names_read_check check ((first_name = '' or private.reads_as_name(first_name))
    and (last_name = '' or private.reads_as_name(last_name)))
);
comment on table public.sign_ups is
  'A sign-up until its mailbox is proven. The login is created only then, so an unproven sign-up reserves no address. A row without link and code belongs to an address that has an account; it exists so that the answer is the same.';
comment on column public.sign_ups.pending_digest is
  'SHA-256 of the secret in the browser that signed up; together with it the mailed code suffices.';
comment on column public.sign_ups.code_digest is
  'Keyed by the master key, because a reader of the table could try out all six-digit codes.';
create index sign_ups_email_idx on public.sign_ups (email);
create index sign_ups_user_idx on public.sign_ups (auth_user_id) where auth_user_id is not null;
create index sign_ups_created_idx on public.sign_ups (created_at);

alter table public.sign_ups enable row level security, force row level security;
create policy router_select on public.sign_ups for select to neurant_router using (true);
create policy router_insert on public.sign_ups for insert to neurant_router with check (true);
create policy router_update on public.sign_ups for update to neurant_router using (true) with check (true);
create policy router_delete on public.sign_ups for delete to neurant_router using (true);
grant select, insert, delete on public.sign_ups to neurant_router;
grant update (link_digest, link_expires_at, code_digest, code_expires_at, code_attempts,
  auth_user_id, verified_at, claimed_at) on public.sign_ups to neurant_router;

create table public.onboarding (
  company_id uuid primary key references public.companies (id),
  plan_seen_at timestamptz,
  bot_skipped_at timestamptz,
  documents_skipped_at timestamptz,
  tested_at timestamptz,
  hidden_at timestamptz,
  created_at timestamptz not null default now()
);
comment on table public.onboarding is
  'The steps of the set-up that leave no other row; all other steps are derived from the rows they leave.';

alter table public.onboarding enable row level security, force row level security;
create policy staff_select on public.onboarding for select to authenticated
  using (company_id = (select private.company_id('company.read')));
create policy router_select on public.onboarding for select to neurant_router using (true);
create policy router_insert on public.onboarding for insert to neurant_router with check (true);
create policy router_update on public.onboarding for update to neurant_router using (true) with check (true);
create policy router_delete on public.onboarding for delete to neurant_router using (true);
grant select on public.onboarding to authenticated;
grant select, insert, update, delete on public.onboarding to neurant_router;

create function private.suggest_slug(p_name text) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
  v_base text := private.slug_of(p_name);
  v_number integer := 1;
begin
  while exists (
    select from public.companies c
    where c.slug = case v_number when 1 then v_base else v_base || '-' || v_number end)
  loop
    v_number := v_number + 1;
  end loop;
  return case v_number when 1 then v_base else v_base || '-' || v_number end;
end $$;
comment on function private.suggest_slug(text) is
  'Returns a free short name made from a company''s name, with a number if others have it. Security definer, called by the web process, because a person who signs up may see no company.';
grant execute on function private.suggest_slug(text) to neurant_app;

create function private.slug_of(p_name text) returns text
language sql stable set search_path = '' as $$
  select coalesce(nullif(btrim(left(btrim(
    regexp_replace(lower(extensions.unaccent(p_name)), '[^a-z0-9]+', '-', 'g'), '-'), 45), '-'), ''),
    'empresa')
$$;
comment on function private.slug_of(text) is
  'Returns the short name that a company''s name makes: at most 45 characters, so that a number still fits into 50.';
grant execute on function private.slug_of(text) to neurant_router;

create function private.suggest_slugs(
  p_name text, p_address inet, p_now timestamptz default now())
returns table (slug text, is_free boolean, alternatives text[])
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_base text := private.slug_of(p_name);
begin
  if not private.try_once_more('check_company_name', p_address, 30, interval '1 minute', p_now) then
    raise exception 'too many name checks from one address' using errcode = 'NA005',
      detail = '{"seconds": 60}';
  end if;
  return query
  select v_base, not exists (select from public.companies c where c.slug = v_base),
    array(
      select f.candidate
      from (
        select v_base || '-' || n.number as candidate, n.number as place
        from generate_series(2, 60) as n (number)
        union all select left(v_base, 42) || '-oficial', 2.5
        union all select 'grupo-' || left(v_base, 44), 2.7
      ) as f
      where not exists (select from public.companies c where c.slug = f.candidate)
      order by f.place limit 3);
end $$;
comment on function private.suggest_slugs(text, inet, timestamptz) is
  'Returns the short name that a name makes, whether it is free, and up to three free ones. Above 30 calls a minute and address: NA005 with {"seconds"}. Security definer, called by the web process, because a person who signs up may see no company.';
grant execute on function private.suggest_slugs(text, inet, timestamptz) to neurant_app;

create function private.sign_up(
  p_auth_user uuid, p_company_name text, p_slug text, p_email text, p_first_name text,
  p_last_name text, p_plan public.subscription_plan_enum default
  'free', p_trial_days integer default 0, p_timezone text default
  'America/Bogota'::text)
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_login text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_company uuid;
  v_user uuid;
begin
  if v_login is null then
    return query select 'unknown_login', null::uuid, null::uuid;
    return;
  end if;
  if p_trial_days not between 0 and 30 then
    raise exception 'a trial lasts 0 to 30 days' using errcode = 'check_violation';
  end if;
  -- In one statement, so that audit finds who did both.
  with made as (
    insert into public.companies (name, slug, email, timezone, monthly_reset_date,
      subscription_plan, subscription_status, subscription_started_at, subscription_ends_at,
      monthly_message_limit, max_chatbots, max_users, max_integrations, max_document_characters,
      max_storage_mb, max_hitl_concurrent, created_by)
    select p_company_name, p_slug, lower(coalesce(p_email, v_login)), p_timezone,
      (now() at time zone p_timezone)::date, p.plan,
      (case when p_trial_days > 0 then 'trialing' else 'active' end)::public.subscription_status_enum,
      now(), case when p_trial_days > 0 then now() + p_trial_days * interval '1 day' end,
      p.monthly_message_limit, p.max_chatbots, p.max_users, p.max_integrations,
      p.max_document_characters, p.max_storage_mb, p.max_hitl_concurrent, p_auth_user
    from public.plans p
    where p.plan = p_plan
    on conflict (slug) do nothing
    returning id
  )
  insert into public.users
    (company_id, auth_user_id, email, first_name, last_name, role, is_owner)
  select m.id, p_auth_user, v_login, p_first_name, p_last_name, 'owner', true from made m
  returning users.company_id, users.id into v_company, v_user;
  if v_company is null then
    return query select 'slug_taken', null::uuid, null::uuid;
    return;
  end if;
  return query select 'created', v_company, v_user;
end $$;
comment on function private.sign_up(uuid, text, text, text, text, text, public.subscription_plan_enum, integer, text) is
  'Creates a company with the limits of a plan, and its owner. A person may own several companies. Outcome: created, slug_taken or unknown_login. Security definer, called by the web process, because a person who signs up has no company, so no policy could admit the person.';
grant execute on function private.sign_up(uuid, text, text, text, text, text,
  public.subscription_plan_enum, integer, text) to neurant_app;

create function private.begin_sign_up(p_email text, p_first_name text, p_last_name text, p_encrypted_password text, p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_accepts_terms boolean, p_now timestamp with time zone DEFAULT now()) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_is_new boolean := not exists (select from auth.users a where lower(a.email) = p_email
    and (a.email_confirmed_at is not null or coalesce(a.encrypted_password, '') <> ''));
begin
  insert into public.sign_ups (email, first_name, last_name, encrypted_password, pending_digest,
    link_digest, link_expires_at, code_digest, code_expires_at, terms_accepted_at, created_at)
  values (p_email, p_first_name, p_last_name, p_encrypted_password, p_pending_digest,
    case when v_is_new then p_link_digest end, p_now + interval '24 hours',
    case when v_is_new then p_code_digest end, p_now + interval '15 minutes',
    case when p_accepts_terms then p_now end, p_now);
  return case when v_is_new then 'new' else 'has_account' end;
end $$;
comment on function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea, boolean, timestamptz) is
  'Begins a sign-up that waits for its mail. Outcome: new (also if an identity provider created the login) or has_account (stored as well, so that both answer alike). Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea,
  boolean, timestamptz) to neurant_app;

create function private.renew_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_now timestamptz default now())
returns table (outcome text, email text, first_name text)
language plpgsql security definer set search_path = '' as $$
declare
  v_known public.sign_ups;
begin
  update public.sign_ups s
  set link_digest = case when s.link_digest is not null then p_link_digest end,
    code_digest = case when s.link_digest is not null then p_code_digest end,
    link_expires_at = p_now + interval '24 hours', code_expires_at = p_now + interval '15 minutes',
    code_attempts = 0
  where s.pending_digest = p_pending_digest and s.verified_at is null
    and s.created_at > p_now - interval '24 hours'
  returning s.* into v_known;
  if v_known.id is null then
    return;
  end if;
  return query select case when v_known.link_digest is null then 'has_account' else 'new' end,
    v_known.email::text, v_known.first_name::text;
end $$;
comment on function private.renew_sign_up(bytea, bytea, bytea, timestamptz) is
  'Replaces the link and code of a waiting sign-up; the previous ones become void. No row: no sign-up waits. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.renew_sign_up(bytea, bytea, bytea, timestamptz) to neurant_app;

create function private.find_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_now timestamptz default now())
returns table (state text, email text, first_name text, encrypted_password text, is_own boolean)
language sql stable security definer set search_path = '' as $$
  select case
      when s.verified_at is not null then 'verified'
      when p_link_digest is not null and s.link_expires_at <= p_now
        or s.created_at <= p_now - interval '24 hours' then 'expired'
      else 'pending' end,
    s.email::text, s.first_name::text, s.encrypted_password,
    coalesce(s.pending_digest = p_pending_digest, false)
  from public.sign_ups s
  where case when p_link_digest is null then s.pending_digest = p_pending_digest
    else s.link_digest = p_link_digest end
$$;
comment on function private.find_sign_up(bytea, bytea, timestamptz) is
  'Returns the sign-up of a link, or else of a browser: pending, verified or expired. is_own: this browser began it. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.find_sign_up(bytea, bytea, timestamptz) to neurant_app;

create function private.verify_sign_up(p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_is_proven boolean, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, auth_user_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known public.sign_ups;
  v_login uuid;
begin
  select s.* into v_known from public.sign_ups s
  where case when p_link_digest is null then s.pending_digest = p_pending_digest
    else s.link_digest = p_link_digest end
  for update;
  if v_known.id is null then
    return query select 'unknown', null::uuid;
    return;
  elsif v_known.verified_at is not null then
    return query select 'verified_before', null::uuid;
    return;
  elsif p_link_digest is not null then
    if v_known.link_expires_at <= p_now then
      return query select 'expired', null::uuid;
      return;
    elsif not (p_is_proven or coalesce(v_known.pending_digest = p_pending_digest, false)) then
      return query select 'password_needed', null::uuid;
      return;
    end if;
  else
    if v_known.code_attempts >= 5 then
      return query select 'too_many', null::uuid;
      return;
    elsif v_known.code_expires_at <= p_now then
      return query select 'expired', null::uuid;
      return;
    elsif v_known.code_digest is distinct from p_code_digest or p_code_digest is null then
      update public.sign_ups s set code_attempts = s.code_attempts + 1 where s.id = v_known.id;
      return query select case when v_known.code_attempts >= 4 then 'too_many' else 'wrong_code' end,
        null::uuid;
      return;
    end if;
  end if;
  v_login := private.create_login(v_known.email, v_known.encrypted_password, true);
  if v_login is null then
    return query select 'taken', null::uuid;
    return;
  end if;
  insert into public.auth_accounts (auth_user_id, first_name, last_name, terms_accepted_at)
  values (v_login, v_known.first_name, v_known.last_name, v_known.terms_accepted_at)
  on conflict on constraint auth_accounts_pkey do nothing;
  update public.sign_ups s set auth_user_id = v_login, verified_at = p_now,
    claimed_at = case when s.pending_digest = p_pending_digest then p_now end
  where s.id = v_known.id;
  return query select 'verified', v_login;
end $$;
comment on function private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz) is
  'Proves the mailbox and creates the login: by the link (in the browser that signed up, or with the password: p_is_proven) or by the code (five attempts, in that browser). Outcome: verified, unknown, expired, wrong_code, too_many, password_needed, verified_before, or taken (the address got a login meanwhile). Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz) to
  neurant_app;

create function private.claim_sign_up(p_pending_digest bytea, p_now timestamptz default now())
returns uuid
language sql volatile security definer set search_path = '' as $$
  update public.sign_ups s set claimed_at = p_now
  where s.pending_digest = p_pending_digest and s.verified_at > p_now - interval '1 hour'
    and s.claimed_at is null
  returning s.auth_user_id
$$;
comment on function private.claim_sign_up(bytea, timestamptz) is
  'Continues a sign-up once in the browser that began it, after the link was opened elsewhere. Returns the login, or null. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.claim_sign_up(bytea, timestamptz) to neurant_app;

create function private.found_company(p_auth_user uuid, p_first_name text, p_last_name text, p_name text, p_slug text, p_industry text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet, p_now timestamp with time zone DEFAULT now(), p_plan public.subscription_plan_enum DEFAULT 'free') RETURNS TABLE(outcome text, company_id uuid, slug text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_slug text;
  v_done record;
begin
  perform private.refuse_told_session();
  if not exists (select from auth.users a where a.id = p_auth_user and a.email_confirmed_at is not null) then
    return query select 'unverified', null::uuid, null::text;
    return;
  end if;
  if not private.try_once_more('found_company', p_address, 5, interval '1 hour', p_now) then
    return query select 'too_many', null::uuid, null::text;
    return;
  end if;
  perform set_config('request.actor', p_auth_user::text, true);
  -- A name that is made for them is made anew if somebody else was a moment faster.
  for i in 1 .. 10 loop
    v_slug := coalesce(p_slug, private.suggest_slug(p_name));
    select s.* into v_done from private.sign_up(p_auth_user, p_name, v_slug, null, p_first_name,
      p_last_name, p_plan => p_plan, p_timezone => p_timezone) s;
    exit when v_done.outcome <> 'slug_taken' or p_slug is not null;
  end loop;
  if v_done.outcome <> 'created' then
    return query select v_done.outcome, null::uuid, null::text;
    return;
  end if;
  update public.companies c
  set industry = p_industry, size = p_size, website = p_website, phone = p_phone
  where c.id = v_done.company_id;
  -- A plan that the host chose leaves the founder nothing to choose.
  insert into public.onboarding (company_id, plan_seen_at)
  values (v_done.company_id, case when p_plan <> 'free' then p_now end);
  return query select 'created', v_done.company_id, v_slug;
end $$;
comment on function private.found_company(uuid, text, text, text, text, text, text, text, text, text, inet, timestamptz, public.subscription_plan_enum) is
  'Creates a company on the plan of new companies, which the web process takes from the host''s settings, for a person with a verified e-mail address, with the data that the person entered. Outcome: created, slug_taken, unverified, unknown_login or too_many (five an hour and address). Security definer, called by the web process, because the person has no company, so no policy could admit the person.';
grant execute on function private.found_company(uuid, text, text, text, text, text, text, text,
  text, text, inet, timestamptz, public.subscription_plan_enum) to neurant_app;

create function private.found_company_by_session(
  p_token_digest bytea, p_first_name text, p_last_name text, p_name text, p_slug text,
  p_industry text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet,
  p_now timestamptz default now(), p_plan public.subscription_plan_enum default 'free')
returns table (outcome text, company_id uuid, slug text)
language sql volatile security definer set search_path = '' as $$
  select f.outcome, f.company_id, f.slug
  from private.own_login(p_token_digest) l (login)
  cross join lateral private.found_company(l.login, p_first_name, p_last_name, p_name, p_slug,
    p_industry, p_size, p_website, p_phone, p_timezone, p_address, p_now, p_plan) f
$$;
comment on function private.found_company_by_session(bytea, text, text, text, text, text, text, text, text, text, inet, timestamptz, public.subscription_plan_enum) is
  'Calls found_company for the person of a session; error NA006 as in own_login. Security definer, called by the web process, because the person has no company, so no policy could admit the person.';
grant execute on function private.found_company_by_session(bytea, text, text, text, text, text,
  text, text, text, text, inet, timestamptz, public.subscription_plan_enum) to neurant_app;

create function private.pass_onboarding(p_step text) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id(
    case p_step when 'tested' then 'chatbots.edit' else 'company.edit' end);
begin
  if v_company is null then
    return false;
  end if;
  insert into public.onboarding as o
    (company_id, plan_seen_at, bot_skipped_at, documents_skipped_at, tested_at, hidden_at)
  values (v_company,
    case p_step when 'plan' then now() end, case p_step when 'skip_bot' then now() end,
    case p_step when 'skip_documents' then now() end,
    case p_step when 'tested' then now() end, case p_step when 'hide' then now() end)
  on conflict on constraint onboarding_pkey do update set
    plan_seen_at = coalesce(o.plan_seen_at, excluded.plan_seen_at),
    bot_skipped_at = coalesce(o.bot_skipped_at, excluded.bot_skipped_at),
    documents_skipped_at = coalesce(o.documents_skipped_at, excluded.documents_skipped_at),
    tested_at = coalesce(o.tested_at, excluded.tested_at),
    hidden_at = coalesce(o.hidden_at, excluded.hidden_at);
  return true;
end $$;
comment on function private.pass_onboarding(text) is
  'Notes a step of the set-up that leaves no other row: plan, skip_bot, skip_documents or hide (owner and administrador), or tested (supervisor as well). Security definer, called by staff and API keys, because no role may write these timestamps directly.';
grant execute on function private.pass_onboarding(text) to authenticated;

create function private.onboarding_state()
returns table (has_bot boolean, has_channel boolean, has_document boolean, has_team boolean,
  has_tested boolean, plan_seen boolean, bot_skipped boolean, documents_skipped boolean,
  is_hidden boolean)
language sql stable security definer set search_path = '' as $$
  select
    exists (select from public.chatbots b where b.company_id = k.id and b.retired_at is null),
    exists (select from public.channel_accounts a where a.company_id = k.id and a.status = 'connected'),
    exists (select from public.documents d where d.company_id = k.id and d.retired_at is null
      and d.processing_status <> 'failed'),
    exists (select from public.users u where u.company_id = k.id and not u.is_owner)
      or exists (select from public.user_invitations i where i.company_id = k.id),
    coalesce(o.tested_at is not null, false)
      or exists (select from public.conversations c where c.company_id = k.id),
    coalesce(o.plan_seen_at is not null, o.company_id is null),
    coalesce(o.bot_skipped_at is not null, false),
    coalesce(o.documents_skipped_at is not null, false),
    coalesce(o.hidden_at is not null, false)
  from public.companies k
  left join public.onboarding o on o.company_id = k.id
  where k.id = (select private.company_id('company.read'))
$$;
comment on function private.onboarding_state() is
  'Returns what a company has set up; a document that could not be read does not count. Security definer, called by staff and API keys, because an operador does not see the invitations that count.';
grant execute on function private.onboarding_state() to authenticated;

create function private.accept_terms(p_auth_user uuid, p_first_name text, p_last_name text)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.auth_accounts (auth_user_id, first_name, last_name, terms_accepted_at)
  values (p_auth_user, p_first_name, p_last_name, now())
$$;
comment on function private.accept_terms(uuid, text, text) is
  'Notes that the person of a login that was created in this transaction, by an invitation, accepted the terms. Security definer, called by the web process, because accounts are closed to other roles.';
grant execute on function private.accept_terms(uuid, text, text) to neurant_app;

-- 33_passwords.sql -------------------------------------------------------------------------------
-- Passwords: setting, changing and resetting them.

create table public.password_resets (
  token_digest bytea primary key check (octet_length(token_digest) = 32),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz
);
comment on table public.password_resets is
  'Mailed links that set a new password, once. A used link is kept for a while, so that it can be reported as used.';
create index password_resets_user_idx on public.password_resets (auth_user_id);
create index password_resets_expired_idx on public.password_resets (expires_at);

alter table public.password_resets enable row level security, force row level security;
create policy router_select on public.password_resets for select to neurant_router using (true);
create policy router_insert on public.password_resets for insert to neurant_router with check (true);
create policy router_update on public.password_resets for update to neurant_router using (true) with check (true);
create policy router_delete on public.password_resets for delete to neurant_router using (true);
grant select, insert, delete on public.password_resets to neurant_router;
grant update (used_at) on public.password_resets to neurant_router;

create function private.begin_password_reset(
  p_email text, p_token_digest bytea, p_now timestamptz default now())
returns table (auth_user_id uuid, first_name text)
language plpgsql security definer set search_path = '' as $$
declare
  v_login uuid := (select a.id from auth.users a where lower(a.email) = p_email);
begin
  if v_login is null then
    return;
  end if;
  insert into public.password_resets (token_digest, auth_user_id, created_at, expires_at)
  values (p_token_digest, v_login, p_now, p_now + interval '1 hour');
  perform private.note_login_event(v_login, 'update', '{"event": "password_reset_asked"}');
  return query select v_login, coalesce(
    (select p.first_name from public.auth_accounts p where p.auth_user_id = v_login),
    (select u.first_name from public.users u where u.auth_user_id = v_login
      order by u.created_at desc limit 1))::text;
end $$;
comment on function private.begin_password_reset(text, bytea, timestamptz) is
  'Creates a link, valid for an hour, for a forgotten password; no row if the address has no account. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.begin_password_reset(text, bytea, timestamptz) to neurant_app;

create function private.find_password_reset(p_token_digest bytea, p_now timestamptz default now())
returns table (state text, email text)
language sql stable security definer set search_path = '' as $$
  select case when r.used_at is not null then 'used'
      when r.expires_at <= p_now then 'expired' else 'open' end, lower(a.email)
  from public.password_resets r
  join auth.users a on a.id = r.auth_user_id
  where r.token_digest = p_token_digest
$$;
comment on function private.find_password_reset(bytea, timestamptz) is
  'Returns the state of a mailed link: open, used or expired; no row for a link that was never sent. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.find_password_reset(bytea, timestamptz) to neurant_app;

create function private.set_password(p_auth_user uuid, p_encrypted_password text, p_keep bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update auth.users a set encrypted_password = p_encrypted_password, updated_at = now()
  where a.id = p_auth_user;
  delete from public.auth_sessions s
  where s.auth_user_id = p_auth_user and s.token_digest is distinct from p_keep;
  delete from public.login_challenges c where c.auth_user_id = p_auth_user;
  -- A secret that waits may have been seen by whoever had one of the sessions that end here.
  delete from public.auth_factors f where f.auth_user_id = p_auth_user and f.confirmed_at is null;
end $$;
comment on function private.set_password(uuid, text, bytea) is
  'Sets a password and ends every session but one, and every login that waits for its second step. Security definer, called by other definers only, because schema auth is closed to every login.';

create function private.finish_password_reset(p_token_digest bytea, p_encrypted_password text, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, auth_user_id uuid, email text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_reset public.password_resets;
  v_email text;
begin
  select r.* into v_reset from public.password_resets r
  where r.token_digest = p_token_digest for update;
  if v_reset.auth_user_id is null or v_reset.used_at is not null or v_reset.expires_at <= p_now then
    return query select case when v_reset.auth_user_id is null then 'unknown'
      when v_reset.used_at is not null then 'used' else 'expired' end, null::uuid, null::text;
    return;
  end if;
  -- The links before and after it, too: whoever reads old mail finds none that works.
  update public.password_resets r set used_at = p_now
  where r.auth_user_id = v_reset.auth_user_id and r.used_at is null;
  perform private.note_login_event(
    v_reset.auth_user_id, 'update', '{"event": "password_changed", "by_mail": true}');
  if exists (select from auth.users a where a.id = v_reset.auth_user_id
    and a.email_confirmed_at is null and coalesce(a.encrypted_password, '') = '')
  then
    perform private.leave_nothing_of_others(v_reset.auth_user_id);
  end if;
  perform private.set_password(v_reset.auth_user_id, p_encrypted_password, null);
  -- The link was in the mailbox: whoever used it has shown that the mailbox is theirs.
  update auth.users a set email_confirmed_at = now()
  where a.id = v_reset.auth_user_id and a.email_confirmed_at is null;
  select lower(a.email) into v_email from auth.users a where a.id = v_reset.auth_user_id;
  -- Who is held back has a link that works: with the links, what held back is over.
  update public.account_brakes b set mailed_at = '{}'
  where b.key_digest = (select private.mail_key('reset', v_email));
  return query select 'changed', v_reset.auth_user_id, v_email;
end $$;
comment on function private.finish_password_reset(bytea, text, timestamptz) is
  'Sets the password by a mailed link, once, and ends every session. Outcome: changed, unknown, used or expired. Of two concurrent calls one succeeds. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.finish_password_reset(bytea, text, timestamptz) to neurant_app;

create function private.change_password(p_token_digest bytea, p_new_digest bytea, p_encrypted_password text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid := private.own_login(p_token_digest);
begin
  if v_login is null then
    return false;
  end if;
  update public.password_resets r set used_at = now()
  where r.auth_user_id = v_login and r.used_at is null;
  perform private.note_login_event(v_login, 'update', '{"event": "password_changed"}');
  perform private.set_password(v_login, p_encrypted_password, p_token_digest);
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.change_password(bytea, bytea, text) is
  'Sets the password of a signed-in person who has shown the old one. This session continues with a new token; all others end. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.change_password(bytea, bytea, text) to neurant_app;

create function private.rehash_password(
  p_auth_user uuid, p_known_hash text, p_encrypted_password text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update auth.users a set encrypted_password = p_encrypted_password, updated_at = now()
  where a.id = p_auth_user and a.encrypted_password = p_known_hash;
  return found;
end $$;
comment on function private.rehash_password(uuid, text, text) is
  'Stores another hash of the same password, which its owner has just shown; no session ends and no mail is sent. Returns whether the known hash was still the current one. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.rehash_password(uuid, text, text) to neurant_app;

create function private.password_context(p_token_digest bytea) returns text[]
language sql stable security definer set search_path = '' as $$
  with person as (
    select s.auth_user_id from public.auth_sessions s
    where s.token_digest = p_token_digest and s.expires_at > now() and s.only_company_id is null
    union all
    select r.auth_user_id from public.password_resets r
    where r.token_digest = p_token_digest and r.used_at is null and r.expires_at > now())
  select coalesce(array_agg(distinct w.word), '{}')
  from person p
  cross join lateral (
    select unnest(array[u.first_name, u.last_name, c.name]::text[]) as word
    from public.users u
    join public.companies c on c.id = u.company_id
    where u.auth_user_id = p.auth_user_id
    union all
    select unnest(array[a.first_name, a.last_name]::text[])
    from public.auth_accounts a where a.auth_user_id = p.auth_user_id) w
  where w.word <> ''
$$;
comment on function private.password_context(bytea) is
  'Returns the names that the password of the person of this session or reset link must not consist of: the person''s own and those of the person''s companies; none for a session that is limited to one company. Security definer, called by the web process, because no principal may read two companies at once.';
grant execute on function private.password_context(bytea) to neurant_app;

-- 34_two_steps.sql -------------------------------------------------------------------------------
-- The second step of a login: authenticator apps, recovery codes, challenges.

create table public.auth_factors (
  auth_user_id uuid primary key references auth.users (id) on delete cascade,
  secret_encrypted bytea not null,
  last_step bigint not null default 0,
  created_at timestamptz not null default now(),
  confirmed_at timestamptz
);
comment on table public.auth_factors is
  'The shared secret of the second step (RFC 6238), sealed under the master key. It is in force once a code has confirmed it.';
comment on column public.auth_factors.last_step is
  'The time step of the code that was used last: codes of this step and earlier ones are refused.';

alter table public.auth_factors enable row level security, force row level security;
create policy router_select on public.auth_factors for select to neurant_router using (true);
create policy router_insert on public.auth_factors for insert to neurant_router with check (true);
create policy router_update on public.auth_factors for update to neurant_router using (true) with check (true);
create policy router_delete on public.auth_factors for delete to neurant_router using (true);
grant select, insert, delete on public.auth_factors to neurant_router;
grant update (secret_encrypted, last_step, created_at, confirmed_at) on public.auth_factors to
  neurant_router;

create table public.recovery_codes (
  auth_user_id uuid not null references public.auth_factors (auth_user_id) on delete cascade,
  code_digest bytea not null check (octet_length(code_digest) = 32),
  used_at timestamptz,
  primary key (auth_user_id, code_digest)
);

alter table public.recovery_codes enable row level security, force row level security;
create policy router_select on public.recovery_codes for select to neurant_router using (true);
create policy router_insert on public.recovery_codes for insert to neurant_router with check (true);
create policy router_update on public.recovery_codes for update to neurant_router using (true) with check (true);
create policy router_delete on public.recovery_codes for delete to neurant_router using (true);
grant select, insert, delete on public.recovery_codes to neurant_router;
grant update (used_at) on public.recovery_codes to neurant_router;

create table public.login_challenges (
  token_digest bytea primary key check (octet_length(token_digest) = 32),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  is_kept boolean not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
comment on table public.login_challenges is
  'Logins whose password was right and whose code is awaited.';
create index login_challenges_user_idx on public.login_challenges (auth_user_id);
create index login_challenges_expired_idx on public.login_challenges (expires_at);

alter table public.login_challenges enable row level security, force row level security;
create policy router_select on public.login_challenges for select to neurant_router using (true);
create policy router_insert on public.login_challenges for insert to neurant_router with check (true);
create policy router_delete on public.login_challenges for delete to neurant_router using (true);
grant select, insert, delete on public.login_challenges to neurant_router;

create function private.two_step_users()
returns uuid[]
language sql stable security definer set search_path = '' as $$
  select case when c.id is not null then array(
    select u.id
    from public.users u
    join public.auth_factors f on f.auth_user_id = u.auth_user_id and f.confirmed_at is not null
    where u.company_id = c.id) end
  from private.company_id('users.manage') as c (id)
$$;
comment on function private.two_step_users() is
  'Returns the people of the company who have a second step; null if the caller does not manage people. Security definer, called by staff and API keys, because factors belong to a login, not to a company.';
grant execute on function private.two_step_users() to authenticated;

create function private.open_challenge(
  p_auth_user uuid, p_token_digest bytea, p_is_kept boolean, p_now timestamptz default now())
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.login_challenges (token_digest, auth_user_id, is_kept, created_at, expires_at)
  values (p_token_digest, p_auth_user, p_is_kept, p_now, p_now + interval '10 minutes')
$$;
comment on function private.open_challenge(uuid, bytea, boolean, timestamptz) is
  'Opens a challenge after the right password: the code must follow within ten minutes. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.open_challenge(uuid, bytea, boolean, timestamptz) to
  neurant_app;

create function private.find_challenge(p_token_digest bytea, p_now timestamptz default now())
returns table (auth_user_id uuid, email text, is_kept boolean)
language sql stable security definer set search_path = '' as $$
  select c.auth_user_id, lower(a.email), c.is_kept
  from public.login_challenges c
  join auth.users a on a.id = c.auth_user_id
  where c.token_digest = p_token_digest and c.expires_at > p_now
$$;
comment on function private.find_challenge(bytea, timestamptz) is
  'Returns the login that waits for its code. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.find_challenge(bytea, timestamptz) to neurant_app;

create function private.close_challenge(p_token_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  delete from public.login_challenges c where c.token_digest = p_token_digest;
  return found;
end $$;
comment on function private.close_challenge(bytea) is
  'Ends a challenge when the login is completed or abandoned; returns whether it still existed. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.close_challenge(bytea) to neurant_app;

create function private.find_factor(p_auth_user uuid) RETURNS TABLE(secret_encrypted bytea, is_confirmed boolean, created_at timestamp with time zone, codes_left integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select f.secret_encrypted, f.confirmed_at is not null, f.created_at,
    (select count(*)::integer from public.recovery_codes r
      where r.auth_user_id = f.auth_user_id and r.used_at is null)
  from public.auth_factors f
  where f.auth_user_id = p_auth_user and f.confirmed_at is not null
$$;
comment on function private.find_factor(uuid) is
  'Returns the second step of a login, to check a code against; a secret that still waits for its first code is not returned (see waiting_factor). Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.find_factor(uuid) to neurant_app;

create function private.use_factor_step(p_auth_user uuid, p_step bigint) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update public.auth_factors f set last_step = p_step
  where f.auth_user_id = p_auth_user and f.last_step < p_step;
  return found;
end $$;
comment on function private.use_factor_step(uuid, bigint) is
  'Uses up the code of a time step; returns false if this step or a later one was used before. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.use_factor_step(uuid, bigint) to neurant_app;

create function private.use_recovery_code(p_auth_user uuid, p_code_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update public.recovery_codes r set used_at = now()
  where r.auth_user_id = p_auth_user and r.code_digest = p_code_digest and r.used_at is null;
  if found then
    perform private.note_login_event(p_auth_user, 'update', '{"event": "recovery_code_used"}');
    return true;
  end if;
  return false;
end $$;
comment on function private.use_recovery_code(uuid, bytea) is
  'Uses up a recovery code, once. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.use_recovery_code(uuid, bytea) to neurant_app;

create function private.begin_factor(p_token_digest bytea, p_secret_encrypted bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  insert into public.auth_factors as f (auth_user_id, secret_encrypted)
  select l.login, p_secret_encrypted from private.own_login(p_token_digest) l (login)
  where l.login is not null
  on conflict (auth_user_id) do update
  set secret_encrypted = excluded.secret_encrypted, created_at = now(), last_step = 0
  where f.confirmed_at is null;
  return found;
end $$;
comment on function private.begin_factor(bytea, bytea) is
  'Stores a new secret, to be confirmed by a code; returns false if the second step is on already. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.begin_factor(bytea, bytea) to neurant_app;

create function private.set_recovery_codes(p_auth_user uuid, p_code_digests bytea[]) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.recovery_codes r where r.auth_user_id = p_auth_user;
  insert into public.recovery_codes (auth_user_id, code_digest)
  select p_auth_user, d.digest from unnest(p_code_digests) d (digest)
$$;
comment on function private.set_recovery_codes(uuid, bytea[]) is
  'Replaces the recovery codes. Security definer, called by other definers only, because factors are closed to other roles.';

create function private.confirm_factor(p_token_digest bytea, p_new_digest bytea, p_step bigint, p_code_digests bytea[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid := private.own_login(p_token_digest);
begin
  update public.auth_factors f set confirmed_at = now(), last_step = p_step
  where f.auth_user_id = v_login and f.confirmed_at is null and f.last_step < p_step;
  if not found then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "two_step_on"}');
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.confirm_factor(bytea, bytea, bigint, bytea[]) is
  'Turns the second step on, with its recovery codes; the session continues with a new token. Returns false if no secret waits to be confirmed. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.confirm_factor(bytea, bytea, bigint, bytea[]) to neurant_app;

create function private.renew_recovery_codes(p_token_digest bytea, p_code_digests bytea[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  -- Asked for by itself: inside a query, a plan that finds no factor first would not ask for it.
  v_login uuid := private.own_login(p_token_digest);
begin
  perform from public.auth_factors f
  where f.auth_user_id = v_login and f.confirmed_at is not null
  for update of f;
  if not found then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "recovery_codes_renewed"}');
  return true;
end $$;
comment on function private.renew_recovery_codes(bytea, bytea[]) is
  'Replaces the recovery codes; the previous ones become void. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.renew_recovery_codes(bytea, bytea[]) to neurant_app;

create function private.disable_factor(p_token_digest bytea, p_new_digest bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid := private.own_login(p_token_digest);
begin
  delete from public.auth_factors f where f.auth_user_id = v_login and f.confirmed_at is not null;
  if not found then
    return false;
  end if;
  perform private.note_login_event(v_login, 'update', '{"event": "two_step_off"}');
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.disable_factor(bytea, bytea) is
  'Turns the second step off and deletes its secret and codes; the session continues with a new token. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.disable_factor(bytea, bytea) to neurant_app;

create function private.waiting_factor(p_token_digest bytea) returns bytea
language plpgsql stable security definer set search_path = '' as $$
declare
  -- Asked for by itself, as in renew_recovery_codes.
  v_login uuid := private.own_login(p_token_digest);
begin
  return (
    select f.secret_encrypted from public.auth_factors f
    where f.auth_user_id = v_login and f.confirmed_at is null);
end $$;
comment on function private.waiting_factor(bytea) is
  'Returns the sealed secret that waits for its first code; null if none waits, error NA006 as in own_login. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.waiting_factor(bytea) to neurant_app;

-- 35_sso.sql -------------------------------------------------------------------------------------
-- Single sign-on: the connections of a company to its identity provider.

create table public.sso_connections (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(100) not null check (btrim(name) <> ''),
  issuer varchar(500) not null check (issuer ~ '^https?://'),
  client_id varchar(255) not null check (btrim(client_id) <> ''),
  client_secret_encrypted bytea,
  default_role public.user_role_enum check (default_role in ('supervisor', 'operador')),
  is_enforced boolean not null default false,
  is_active boolean not null default true,
  created_by uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, issuer, client_id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  constraint sso_connections_name_reads_check
    check (private.reads_as_name(name))
);
comment on table public.sso_connections is
  'An OpenID provider that authenticates people for one company, and for no other.';
comment on column public.sso_connections.issuer is
  'Never changed: under another issuer the same subjects would be other people.';
comment on column public.sso_connections.client_secret_encrypted is
  'Sealed under the company''s key. Null: a public client, which PKCE alone protects.';
comment on column public.sso_connections.default_role is
  'The role of a person who arrives without an invitation. Null: only invited people are admitted.';
comment on column public.sso_connections.is_enforced is
  'Whether people with an address in the connection''s domains must sign in this way. The owner may always use the password, so that a broken provider cannot lock everybody out.';
create index sso_connections_created_by_idx on public.sso_connections (company_id, created_by);

alter table public.sso_connections enable row level security, force row level security;
create policy staff_select on public.sso_connections for select to authenticated
  using (company_id = (select private.company_id('sso.read')));
create policy staff_insert on public.sso_connections for insert to authenticated
  with check (company_id = (select private.company_id('sso.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.sso_connections for update to authenticated
  using (company_id = (select private.company_id('sso.manage')))
  with check (company_id = (select private.company_id('sso.manage')));
create policy staff_delete on public.sso_connections for delete to authenticated
  using (company_id = (select private.company_id('sso.manage')));
create policy router_select on public.sso_connections for select to neurant_router using (true);
create policy router_update on public.sso_connections for update to neurant_router
  using (true) with check (true);
grant delete on public.sso_connections to authenticated;
grant select (company_id, id, name, issuer, client_id, default_role, is_enforced, is_active,
  created_by, created_at, updated_at) on public.sso_connections to authenticated;
grant insert (company_id, id, name, issuer, client_id, client_secret_encrypted, default_role,
  is_enforced, is_active, created_by) on public.sso_connections to authenticated;
grant update (name, client_id, client_secret_encrypted, default_role, is_enforced, is_active) on
  public.sso_connections to authenticated;
grant select on public.sso_connections to neurant_router;
grant update (updated_at) on public.sso_connections to neurant_router;

select private.audit_table('public.sso_connections', 'id',
  '{default_role,is_enforced,is_active,created_by}',
  '{name,issuer,client_id}',
  '{client_secret_encrypted}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.sso_connections
  for each row execute function private.update_updated_at_column();

create table public.external_identities (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  connection_id uuid not null,
  subject varchar(255) not null check (subject <> ''),
  user_id uuid not null,
  created_at timestamptz not null default now(),
  last_login_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, connection_id, subject),
  unique (company_id, connection_id, user_id),
  foreign key (company_id, connection_id)
    references public.sso_connections (company_id, id) on delete cascade,
  foreign key (company_id, user_id) references public.users (company_id, id)
);
comment on table public.external_identities is
  'The identity of a user at a provider. From the second sign-in on the subject decides, not the e-mail address.';
create index external_identities_user_idx on public.external_identities (company_id, user_id);

alter table public.external_identities enable row level security, force row level security;
create policy staff_select on public.external_identities for select to authenticated
  using (company_id = (select private.company_id('sso.read')));
create policy staff_delete on public.external_identities for delete to authenticated
  using (company_id = (select private.company_id('sso.manage')));
create policy router_select on public.external_identities for select to neurant_router using (true);
create policy router_insert on public.external_identities for insert to neurant_router
  with check (true);
create policy router_update on public.external_identities for update to neurant_router
  using (true) with check (true);
grant select, delete on public.external_identities to authenticated;
grant select, insert on public.external_identities to neurant_router;
grant update (last_login_at) on public.external_identities to neurant_router;

select private.audit_table('public.external_identities', 'user_id',
  '{connection_id,user_id}',
  '{subject}',
  '{}',
  '{created_at,last_login_at}');

create table public.sso_attempts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  connection_id uuid not null,
  state_digest bytea not null unique check (octet_length(state_digest) = 32),
  browser_digest bytea not null check (octet_length(browser_digest) = 32),
  next_path varchar(2000) not null,
  is_kept boolean not null,
  expires_at timestamptz not null,
  claimed_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, connection_id)
    references public.sso_connections (company_id, id) on delete cascade
);
comment on table public.sso_attempts is
  'Sign-ins that are at the provider now. Nonce and PKCE verifier are derived from a secret in the browser, of which only the digest is stored, so nothing in this table admits anybody.';
create index sso_attempts_connection_idx
  on public.sso_attempts (company_id, connection_id, expires_at);

alter table public.sso_attempts enable row level security, force row level security;
create policy router_select on public.sso_attempts for select to neurant_router using (true);
create policy router_insert on public.sso_attempts for insert to neurant_router with check (true);
create policy router_update on public.sso_attempts for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.sso_attempts for delete to neurant_router using (true);
grant select, insert, delete on public.sso_attempts to neurant_router;
grant update (claimed_at) on public.sso_attempts to neurant_router;

create function private.sso_required(p_company uuid, p_user uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select c.id
  from public.users u
  join public.sso_domains d
    on d.company_id = u.company_id and d.domain = split_part(u.email, '@', 2)
    and d.proven_at is not null
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where u.company_id = p_company and u.id = p_user and not u.is_owner
    and c.is_active and c.is_enforced
$$;
comment on function private.sso_required(uuid, uuid) is
  'Returns the connection that this user must sign in by, because the user''s domain is proven and the connection enforced; null if a password suffices. Security definer, called by other definers only, because it is called before anybody is signed in.';

create function private.begin_sso(
  p_domain text, p_state_digest bytea, p_browser_digest bytea, p_next text, p_is_kept boolean,
  p_now timestamptz default now())
returns table (company_id uuid, connection_id uuid, name text, issuer text, client_id text)
language plpgsql security definer set search_path = '' as $$
declare
  v_connection public.sso_connections;
begin
  select c.* into v_connection
  from public.sso_domains d
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where d.domain = p_domain and d.proven_at is not null and c.is_active;
  if v_connection.id is null then
    return;
  end if;
  -- One after another within a connection, so that the number is exact over all processes.
  perform pg_advisory_xact_lock(hashtextextended('sso attempts ' || v_connection.id, 0));
  delete from public.sso_attempts a
  where a.company_id = v_connection.company_id and a.connection_id = v_connection.id
    and (a.expires_at < p_now - interval '1 hour'
      -- Strangers from many addresses push the oldest attempt out; they close the door to nobody.
      or a.id in (
        select o.id from public.sso_attempts o
        where o.company_id = v_connection.company_id and o.connection_id = v_connection.id
        order by o.expires_at desc, o.id desc offset 999));
  insert into public.sso_attempts
    (company_id, connection_id, state_digest, browser_digest, next_path, is_kept, expires_at)
  values (v_connection.company_id, v_connection.id, p_state_digest, p_browser_digest, p_next,
    p_is_kept, p_now + interval '10 minutes');
  return query select v_connection.company_id, v_connection.id, v_connection.name::text,
    v_connection.issuer::text, v_connection.client_id::text;
end $$;
comment on function private.begin_sso(text, bytea, bytea, text, boolean, timestamptz) is
  'Begins a sign-in at the provider of this domain, to be completed within ten minutes; no row if the domain has none. A connection keeps its newest 1000 attempts. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.begin_sso(text, bytea, bytea, text, boolean, timestamptz) to
  neurant_app;

create function private.sso_of_domain(p_domain text) RETURNS TABLE(name text, is_enforced boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select c.name::text, c.is_enforced
  from public.sso_domains d
  join public.sso_connections c on c.company_id = d.company_id and c.id = d.connection_id
  where d.domain = p_domain and d.proven_at is not null and c.is_active
$$;
comment on function private.sso_of_domain(text) is
  'Returns the name of the provider of a proven domain, for the button on the login page. A claim that is not proven returns nothing, so that people are never sent to a stranger''s provider. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.sso_of_domain(text) to neurant_app;

create function private.claim_sso(
  p_state_digest bytea, p_browser_digest bytea, p_now timestamptz default now())
returns table (
  outcome text, attempt_id uuid, company_id uuid, connection_id uuid, name text, issuer text,
  client_id text, client_secret_encrypted bytea, wrapped_key bytea, next_path text, is_kept boolean)
language plpgsql security definer set search_path = '' as $$
declare
  v_attempt public.sso_attempts;
  v_outcome text;
begin
  select a.* into v_attempt from public.sso_attempts a
  where a.state_digest = p_state_digest for update;
  v_outcome := case
    when v_attempt.id is null then 'unknown'
    when v_attempt.browser_digest is distinct from p_browser_digest then 'other_browser'
    when v_attempt.claimed_at is not null then 'used'
    when v_attempt.expires_at <= p_now then 'expired'
    else 'claimed' end;
  if v_outcome = 'claimed' then
    update public.sso_attempts a set claimed_at = p_now
    where a.company_id = v_attempt.company_id and a.id = v_attempt.id;
    return query
    select v_outcome, v_attempt.id, c.company_id, c.id, c.name::text, c.issuer::text,
      c.client_id::text, c.client_secret_encrypted, k.wrapped_key, v_attempt.next_path::text,
      v_attempt.is_kept
    from public.sso_connections c
    left join public.company_keys k on k.company_id = c.company_id
    where c.company_id = v_attempt.company_id and c.id = v_attempt.connection_id and c.is_active;
    if found then
      return;
    end if;
    v_outcome := 'closed';
  end if;
  return query select v_outcome, null::uuid, null::uuid, null::uuid, null::text, null::text,
    null::text, null::bytea, null::bytea, null::text, null::boolean;
end $$;
comment on function private.claim_sso(bytea, bytea, timestamptz) is
  'Takes up an attempt, once, in the browser that began it. Outcome: claimed (with the data for the token exchange; secrets still sealed), unknown, other_browser, used, expired or closed. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.claim_sso(bytea, bytea, timestamptz) to neurant_app;

create function private.open_sso_session(
  p_company uuid, p_user uuid, p_connection uuid, p_token_digest bytea, p_ip inet,
  p_user_agent text, p_lifetime interval)
returns timestamptz
language plpgsql security definer set search_path = '' as $$
declare
  v_expires timestamptz := now() + p_lifetime;
begin
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = p_company and u.id = p_user;
  insert into public.login_sessions
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at, sso_connection_id)
  values (p_company, p_user, p_token_digest, p_ip, p_user_agent, v_expires, p_connection);
  return v_expires;
end $$;
comment on function private.open_sso_session(uuid, uuid, uuid, bytea, inet, text, interval) is
  'Opens the session of the person whom the provider has named. Only finish_sso calls it. Security definer, called by other definers only, because no role may write sessions directly.';

create function private.admit_by_sso(
  p_connection public.sso_connections, p_email text, p_first_name text, p_last_name text, p_now
  timestamptz)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := p_connection.company_id;
  v_invitation bytea;
  v_login uuid;
  v_user uuid;
begin
  select i.token_digest into v_invitation from public.user_invitations i
  where i.company_id = v_company and i.email = p_email and i.status = 'pending'
    and i.expires_at > p_now;
  if v_invitation is null and p_connection.default_role is null then
    return null;
  end if;
  -- Not confirmed by this: a provider vouches for an address to its own company only.
  v_login := private.create_login(p_email, null);
  if v_login is null then
    v_login := (select a.id from auth.users a where lower(a.email) = p_email);
  end if;
  if v_invitation is not null then
    select a.user_id into v_user from private.accept_invitation(
      v_invitation, v_login, p_first_name, p_last_name, p_now) a;
    return v_user;
  end if;
  perform set_config('request.actor', v_login::text, true);
  insert into public.users (company_id, auth_user_id, email, first_name, last_name, role)
  values (v_company, v_login, p_email, coalesce(p_first_name, split_part(p_email, '@', 1)),
    coalesce(p_last_name, ''), p_connection.default_role)
  returning id into v_user;
  return v_user;
end $$;
comment on function private.admit_by_sso(public.sso_connections, text, text, text, timestamptz) is
  'Creates the user of a person who is new to the company: by the person''s invitation, or else with the connection''s default role (NA002 if no seat is left). Returns null if there is neither. Only finish_sso calls it. Security definer, called by other definers only, because the caller is not signed in.';

create function private.finish_sso(p_attempt uuid, p_issuer text, p_subject text, p_email text, p_is_verified boolean, p_first_name text, p_last_name text, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, user_id uuid, expires_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_attempt public.sso_attempts;
  v_connection public.sso_connections;
  v_user public.users;
  v_is_closed boolean;
  v_linked uuid;
  v_admitted uuid;
  v_outcome text;
  v_domains text[];
begin
  delete from public.sso_attempts a
  where a.id = p_attempt and a.claimed_at > p_now - interval '5 minutes'
  returning a.* into v_attempt;
  -- The company first, as everything that takes a seat.
  select c.subscription_status = 'cancelled' into v_is_closed from public.companies c
  where c.id = v_attempt.company_id for no key update;
  select c.* into v_connection from public.sso_connections c
  where c.company_id = v_attempt.company_id and c.id = v_attempt.connection_id and c.is_active
    and c.issuer = p_issuer
  for share;
  if v_connection.id is null then
    return query select 'closed', null::uuid, null::uuid, null::timestamptz;
    return;
  end if;
  v_domains := array(select d.domain from public.sso_domains d
    where d.company_id = v_connection.company_id and d.connection_id = v_connection.id
      and d.proven_at is not null);
  select i.user_id into v_linked from public.external_identities i
  where i.company_id = v_connection.company_id and i.connection_id = v_connection.id
    and i.subject = p_subject;
  if v_linked is null then
    v_outcome := case
      when p_email is null then 'no_email'
      when p_is_verified is not true then 'not_verified'
      when split_part(p_email, '@', 2) <> all (v_domains) then 'other_domain' end;
  end if;
  if v_outcome is null then
    select u.* into v_user from public.users u
    where u.company_id = v_connection.company_id
      and (u.id = v_linked or v_linked is null and u.email = p_email)
    for no key update;
    if v_user.id is null and not v_is_closed then
      v_admitted := private.admit_by_sso(v_connection, p_email, p_first_name, p_last_name, p_now);
      select u.* into v_user from public.users u
      where u.company_id = v_connection.company_id and u.id = v_admitted;
    end if;
    v_outcome := case
      when v_user.id is null then 'not_invited'
      when not v_user.is_active or v_user.auth_user_id is null then 'deactivated'
      when split_part(v_user.email, '@', 2) <> all (v_domains) then 'other_domain'
      when v_linked is null and exists (
        select from public.external_identities i
        where i.company_id = v_connection.company_id and i.connection_id = v_connection.id
          and i.user_id = v_user.id) then 'linked_to_other' end;
  end if;
  if v_outcome is not null then
    perform private.write_audit(v_connection.company_id, 'login_denied', 'sso_connections',
      v_connection.id, jsonb_build_object('reason', v_outcome), v_user.id);
    return query select v_outcome, v_connection.company_id, v_user.id, null::timestamptz;
    return;
  end if;
  insert into public.external_identities as i (company_id, connection_id, subject, user_id)
  values (v_connection.company_id, v_connection.id, p_subject, v_user.id)
  on conflict on constraint external_identities_company_id_connection_id_subject_key
    do update set last_login_at = p_now;
  return query select 'signed_in', v_connection.company_id, v_user.id,
    private.open_sso_session(v_connection.company_id, v_user.id, v_connection.id, p_token_digest,
      p_ip, p_user_agent, p_lifetime);
end $$;
comment on function private.finish_sso(uuid, text, text, text, boolean, text, text, bytea, inet, text, interval, timestamptz) is
  'Signs in the person whom the provider of a claimed attempt names, into that provider''s company. Outcome: signed_in, closed, no_email, not_verified, other_domain, not_invited, deactivated or linked_to_other (the address belongs to another subject; perhaps it was reassigned); error NA002 if no seat is left. Existing members may enter a closed company, for reading. It writes everything or nothing. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.finish_sso(uuid, text, text, text, boolean, text, text, bytea,
  inet, text, interval, timestamptz) to neurant_app;

create function private.end_sessions_by_sso() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid := coalesce(new.company_id, old.company_id);
begin
  delete from public.login_sessions s
  using public.users u
  where s.company_id = v_company and u.company_id = s.company_id and u.id = s.user_id
    and case
      when s.sso_connection_id is null then private.sso_required(v_company, u.id) is not null
      else not exists (
        select from public.sso_connections c
        join public.sso_domains d on d.company_id = c.company_id and d.connection_id = c.id
        where c.company_id = v_company and c.id = s.sso_connection_id and c.is_active
          and d.proven_at is not null and d.domain = split_part(u.email, '@', 2)) end;
  return null;
end $$;
comment on function private.end_sessions_by_sso() is
  'Ends the sessions that could not be opened any more: by password where the provider is enforced now, or through a connection or domain that is no longer valid. Security definer, called by a trigger, because no role may delete sessions directly.';

create trigger end_sessions_by_sso after update of is_active, is_enforced on public.sso_connections
  for each row execute function private.end_sessions_by_sso();

create function private.end_sessions_of_identity() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.login_sessions s
  where s.company_id = old.company_id and s.user_id = old.user_id
    and s.sso_connection_id = old.connection_id;
  return null;
end $$;
comment on function private.end_sessions_of_identity() is
  'Ends the sessions of an identity that is unlinked. Security definer, called by a trigger, because no role may delete sessions directly.';

create trigger end_sessions_of_identity after delete on public.external_identities
  for each row execute function private.end_sessions_of_identity();

create function private.sso_instead(p_auth_user uuid) returns text
language sql stable security definer set search_path = '' as $$
  select min(c.name)
  from public.users u
  left join public.sso_connections c
    on c.company_id = u.company_id and c.id = (select private.sso_required(u.company_id, u.id))
  where u.auth_user_id = p_auth_user and u.is_active
  having count(*) > 0 and count(*) = count(c.id)
$$;
comment on function private.sso_instead(uuid) is
  'Returns the provider that a person must use if none of the person''s companies accepts a password; else null. Security definer, called by the web process, because it is called after the password check, before there is a session.';
grant execute on function private.sso_instead(uuid) to neurant_app;

-- 36_sso_domains.sql -----------------------------------------------------------------------------
-- Domains of single sign-on: claimed by a company, proven by DNS or by the host.

create table public.public_mail_domains (
  domain varchar(253) primary key check (domain = lower(domain))
);
comment on table public.public_mail_domains is
  'Platform table: mail domains in which anybody can get an address. No company can claim them.';

alter table public.public_mail_domains enable row level security, force row level security;
create policy router_select on public.public_mail_domains for select to neurant_router using (true);
grant select on public.public_mail_domains to neurant_router;

create table public.sso_domains (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  connection_id uuid not null,
  domain varchar(253) not null
    check (domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z0-9-]{2,63}$'),
  token varchar(64) not null,
  proven_by text,
  proven_at timestamptz,
  checked_at timestamptz,
  last_check text,
  failing_since timestamptz,
  check_due_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, connection_id)
    references public.sso_connections (company_id, id) on delete cascade,
  constraint sso_domains_proven_by_check check (proven_by in ('dns', 'host')),
  constraint sso_domains_last_check_check
    check (last_check in ('found', 'absent', 'unreachable')),
  constraint sso_domains_proven_check
    check ((proven_at is null) = (proven_by is null))
);
comment on table public.sso_domains is
  'The claim of a company to a mail domain. It has an effect (finds the provider, admits, enforces) only while proven_at is set; of several claims to one domain only one can be proven.';
comment on column public.sso_domains.domain is 'In ASCII (IDNA), lower case.';
comment on column public.sso_domains.token is
  'The text that the TXT record must contain, so that it proves this claim and no other company''s. Not a secret.';
comment on column public.sso_domains.proven_by is
  'dns: the TXT record was found, and is checked again. host: the operator of the installation vouched for it by command.';
comment on column public.sso_domains.checked_at is
  'When the DNS was asked last, whatever it answered.';
comment on column public.sso_domains.last_check is
  'found; absent (the DNS answered, without the record); unreachable (no answer, or a name server failed), which says nothing about the record.';
comment on column public.sso_domains.failing_since is
  'Since when the record of a domain that it proved is absent; null while it is there. After three days the domain is no longer proven.';
comment on column public.sso_domains.check_due_at is
  'When the worker checks again. A worker that takes the check moves it on.';
create index sso_domains_connection_idx on public.sso_domains (company_id, connection_id);
create unique index sso_domains_proven_key on public.sso_domains (domain)
  where proven_at is not null;
create unique index sso_domains_claimed_key on public.sso_domains (company_id, domain)
  where proven_at is null;

alter table public.sso_domains enable row level security, force row level security;
create policy staff_select on public.sso_domains for select to authenticated
  using (company_id = (select private.company_id('sso.read')));
create policy router_select on public.sso_domains for select to neurant_router using (true);
create policy router_insert on public.sso_domains for insert to neurant_router with check (true);
create policy router_update on public.sso_domains for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.sso_domains for delete to neurant_router using (true);
grant select on public.sso_domains to authenticated;
grant select, insert, delete on public.sso_domains to neurant_router;
grant update (proven_by, proven_at, checked_at, last_check, failing_since, check_due_at) on
  public.sso_domains to neurant_router;

select private.audit_table('public.sso_domains', 'connection_id',
  '{connection_id,proven_by,proven_at,failing_since}',
  '{domain}',
  '{}',
  '{created_at,token,checked_at,last_check,check_due_at}');

create trigger end_sessions_by_sso after insert or delete or update of proven_at
  on public.sso_domains for each row execute function private.end_sessions_by_sso();

create function private.set_sso_domains(p_connection uuid, p_domains text[])
returns table (outcome text, domain text)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('sso.manage');
  v_domain text;
  v_before bigint;
begin
  if v_company is null then
    return query select 'forbidden', null::text;
    return;
  end if;
  -- One change of a company's claims after the other: no domain is claimed twice in it.
  perform from public.companies c where c.id = v_company for no key update;
  perform from public.sso_connections c
  where c.company_id = v_company and c.id = p_connection for no key update;
  if not found then
    return query select 'not_found', null::text;
    return;
  end if;
  select count(*) into v_before from public.sso_domains d where d.company_id = v_company;
  delete from public.sso_domains d
  where d.company_id = v_company and d.connection_id = p_connection
    and d.domain <> all (p_domains);
  -- In order, so that two companies that want the same ones do not wait for one another in a ring.
  for v_domain in select distinct x from unnest(p_domains) x order by x loop
    if exists (select from public.public_mail_domains p where p.domain = v_domain) then
      return query select 'public', v_domain;
    elsif exists (
      select from public.sso_domains d
      join public.companies o on o.id = d.company_id and o.subscription_status <> 'cancelled'
      where d.domain = v_domain and d.proven_at is not null and d.company_id <> v_company)
    then
      return query select 'taken', v_domain;
    else
      -- A claim proves nothing: other companies may claim the same domain until one proves it.
      insert into public.sso_domains (company_id, connection_id, domain, token)
      select v_company, p_connection, v_domain, replace(gen_random_uuid()::text, '-', '')
      where not exists (
        select from public.sso_domains d where d.company_id = v_company and d.domain = v_domain);
      if not exists (
        select from public.sso_domains d
        where d.company_id = v_company and d.connection_id = p_connection and d.domain = v_domain)
      then
        return query select 'taken', v_domain;
      end if;
    end if;
  end loop;
  -- Each claim is looked up in the DNS again and again. A company that had more may keep or lessen them.
  if (select count(*) from public.sso_domains d where d.company_id = v_company)
    > greatest(50, v_before)
  then
    return query select 'too_many', null::text;
  end if;
end $$;
comment on function private.set_sso_domains(uuid, text[]) is
  'Replaces the domains that a connection claims. Returns a row for each domain that it cannot claim: public (a domain of public mailboxes) or taken (proven by another company, or claimed by another connection of this one), or one row forbidden or not_found; with any row the caller rolls back. A claim proves nothing; private.note_sso_domain_check and private.prove_sso_domain prove it. Security definer, called by staff and API keys, because the caller may not see the claims of other companies.';
grant execute on function private.set_sso_domains(uuid, text[]) to authenticated;

create function private.take_sso_domain(
  p_company uuid, p_id uuid, p_how text, p_now timestamptz)
returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- Who has left holds no name.
  delete from public.sso_domains d using public.companies o, public.sso_domains mine
  where mine.company_id = p_company and mine.id = p_id and d.domain = mine.domain
    and d.company_id <> p_company and o.id = d.company_id and o.subscription_status = 'cancelled';
  update public.sso_domains d
  set proven_by = p_how, proven_at = p_now, failing_since = null,
    check_due_at = p_now + interval '1 day'
  where d.company_id = p_company and d.id = p_id;
  return found;
exception when unique_violation then
  return false;
end $$;
comment on function private.take_sso_domain(uuid, uuid, text, timestamptz) is
  'Marks a claim as proven; returns false if another company''s claim is. Security definer, called by other definers only, because no role may write whether a domain is proven.';

create function private.note_sso_domain_check(
  p_company uuid, p_id uuid, p_found text, p_now timestamptz default now(),
  p_actor uuid default null)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_claim public.sso_domains;
begin
  perform set_config('request.actor', p_actor::text, true);
  select d.* into v_claim from public.sso_domains d
  where d.company_id = p_company and d.id = p_id for update;
  if v_claim.id is null then
    return 'unknown';
  end if;
  update public.sso_domains d
  set checked_at = p_now, last_check = p_found,
    failing_since = case p_found when 'found' then null when 'unreachable' then d.failing_since
      else case d.proven_by when 'dns' then coalesce(d.failing_since, p_now) end end,
    check_due_at = p_now + case p_found when 'found' then interval '1 day'
      when 'absent' then interval '6 hours' else interval '1 hour' end
  where d.company_id = p_company and d.id = p_id;
  if p_found = 'found' and v_claim.proven_at is null then
    return case when private.take_sso_domain(p_company, p_id, 'dns', p_now)
      then 'proven' else 'taken' end;
  elsif p_found <> 'absent' or v_claim.proven_by is distinct from 'dns' then
    return p_found;
  elsif v_claim.failing_since is null then
    perform private.notify_users(p_company, '{owner,administrador}', 'sso_domain_failing',
      jsonb_build_object('domain', v_claim.domain));
    return 'failing';
  elsif v_claim.failing_since > p_now - interval '3 days' then
    return 'failing';
  end if;
  update public.sso_domains d set proven_by = null, proven_at = null, failing_since = null
  where d.company_id = p_company and d.id = p_id;
  perform private.notify_users(p_company, '{owner,administrador}', 'sso_domain_unproven',
    jsonb_build_object('domain', v_claim.domain));
  return 'lost';
end $$;
comment on function private.note_sso_domain_check(uuid, uuid, text, timestamptz, uuid) is
  'Records the result of a DNS check of a claim (found, absent, unreachable) and its consequence: proven, taken (another company''s claim is proven), failing (absent for less than three days), lost (absent for longer: no longer proven, and owner and administradores are notified), unknown, else the result itself. p_actor: the login that requested the check, for audit. Security definer, called by the web process and the worker process, because no role may write whether a domain is proven.';
grant execute on function private.note_sso_domain_check(uuid, uuid, text, timestamptz, uuid) to
  neurant_app, neurant_jobs;

create function private.sso_domains_to_check(p_now timestamptz default now())
returns table (company_id uuid, id uuid, domain text, token text)
language sql volatile security definer set search_path = '' as $$
  update public.sso_domains d set check_due_at = p_now + interval '1 hour'
  where (d.company_id, d.id) in (
    select s.company_id, s.id from public.sso_domains s
    where s.proven_by = 'dns' and s.check_due_at <= p_now
    order by s.check_due_at limit 20 for update skip locked)
  returning d.company_id, d.id, d.domain::text, d.token::text
$$;
comment on function private.sso_domains_to_check(timestamptz) is
  'Returns up to twenty domains whose TXT record is due for a check, and reserves them for an hour. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.sso_domains_to_check(timestamptz) to neurant_jobs;

create function private.prove_sso_domain(
  p_slug text, p_domain text, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := (select c.id from public.companies c where c.slug = p_slug);
  v_claim public.sso_domains;
begin
  if v_company is null then
    return 'unknown_company';
  end if;
  select d.* into v_claim from public.sso_domains d
  where d.company_id = v_company and d.domain = p_domain for update;
  if v_claim.id is null then
    return 'not_claimed';
  end if;
  return case when private.take_sso_domain(v_company, v_claim.id, 'host', p_now)
    then 'proven' else 'taken' end;
end $$;
comment on function private.prove_sso_domain(text, text, timestamptz) is
  'Marks a company''s claim as proven because the operator of the installation vouches for it; the DNS is then not checked. Outcome: proven, unknown_company, not_claimed or taken. Security definer, called by the web process, because no role may write whether a domain is proven.';
grant execute on function private.prove_sso_domain(text, text, timestamptz) to neurant_app;

-- 37_login_sessions.sql --------------------------------------------------------------------------
-- Login sessions: the part of a session that belongs to one company.

create table public.login_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid not null,
  auth_session_id uuid,
  sso_connection_id uuid,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  ip_address inet,
  user_agent text,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ends_at timestamptz,
  idle_after interval,
  primary key (company_id, id),
  foreign key (company_id, user_id) references public.users (company_id, id),
  constraint login_sessions_auth_session_fkey
    foreign key (auth_session_id) references public.auth_sessions (id) on delete cascade,
  constraint login_sessions_sso_connection_fkey
    foreign key (company_id, sso_connection_id)
    references public.sso_connections (company_id, id) on delete cascade
);
comment on column public.login_sessions.auth_session_id is
  'The person''s session that this is a part of; a trigger sets it if the insert does not.';
comment on column public.login_sessions.sso_connection_id is
  'The connection that opened this session. The session ends with the connection and is valid for this company only, because a provider speaks for no other company.';
comment on column public.login_sessions.expires_at is 'As in auth_sessions: it moves with use.';
create index login_sessions_user_idx on public.login_sessions (company_id, user_id);
-- Finds the parts in companies when a session ends.
create index login_sessions_auth_session_idx on public.login_sessions (auth_session_id);
-- Finds the sessions that end with a connection.
create index login_sessions_sso_connection_idx
  on public.login_sessions (company_id, sso_connection_id) where sso_connection_id is not null;

alter table public.login_sessions enable row level security, force row level security;
create policy router_select on public.login_sessions for select to neurant_router using (true);
create policy router_insert on public.login_sessions for insert to neurant_router with check (true);
create policy router_update on public.login_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.login_sessions for delete to neurant_router using (true);
grant select, insert, delete on public.login_sessions to neurant_router;
grant update (token_digest, last_seen_at) on public.login_sessions to neurant_router;

select private.audit_table('public.login_sessions', 'user_id',
  '{user_id,expires_at,sso_connection_id}',
  '{ip_address,user_agent}',
  '{token_digest}',
  '{created_at,last_seen_at,auth_session_id,ends_at,idle_after}');

create trigger end_auth_session after delete on public.login_sessions
  for each row when (old.sso_connection_id is not null)
  execute function private.end_auth_session();

-- Its name makes it run after belong_to_auth_session.
create trigger idle_with_auth_session before insert on public.login_sessions
  for each row execute function private.begin_idling();

create trigger slide_session before update of last_seen_at on public.login_sessions
  for each row execute function private.slide_session();

create trigger share_use after update of last_seen_at on public.login_sessions
  for each row execute function private.share_use();

create function private.open_login_session(
  p_auth_user uuid, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval)
returns table (company_id uuid, user_id uuid, expires_at timestamptz)
language plpgsql security definer set search_path = '' as $$
declare
  v_user public.users;
begin
  select u.* into v_user
  from public.users u
  join public.companies c on c.id = u.company_id and c.subscription_status <> 'cancelled'
  where u.auth_user_id = p_auth_user and u.is_active
  order by u.last_seen_at desc nulls last, u.created_at
  limit 1;
  if v_user.id is null then
    return;
  end if;
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = v_user.company_id and u.id = v_user.id;
  return query
  insert into public.login_sessions as s
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at)
  values (v_user.company_id, v_user.id, p_token_digest, p_ip, p_user_agent, now() + p_lifetime)
  returning s.company_id, s.user_id, s.expires_at;
end $$;
comment on function private.open_login_session(uuid, bytea, inet, text, interval) is
  'Opens a session in the company that the person worked in last; no row if the person has no active user. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.open_login_session(uuid, bytea, inet, text, interval) to
  neurant_app;

create function private.login_session(p_token_digest bytea)
returns table (
  session_id uuid, auth_user_id uuid, company_id uuid, user_id uuid,
  role public.user_role_enum, first_name text, last_name text, email text, company_name text)
language plpgsql security definer set search_path = '' as $$
begin
  -- Often enough to show who is there, seldom enough not to write on every request.
  update public.login_sessions s set last_seen_at = now()
  where s.token_digest = p_token_digest and s.last_seen_at < now() - interval '1 minute';
  return query
  select s.id, u.auth_user_id, u.company_id, u.id, u.role, u.first_name::text, u.last_name::text,
    u.email::text, c.name::text
  from public.login_sessions s
  join public.users u on u.company_id = s.company_id and u.id = s.user_id
  join public.companies c on c.id = s.company_id
  where s.token_digest = p_token_digest and s.expires_at > now() and u.is_active;
end $$;
comment on function private.login_session(bytea) is
  'Returns the person of a session, if the session and its user are valid; a closed company may be read. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.login_session(bytea) to neurant_app;

create function private.close_login_session(p_token_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.login_sessions s where s.token_digest = p_token_digest;
  delete from public.auth_sessions a where a.token_digest = p_token_digest
$$;
comment on function private.close_login_session(bytea) is
  'Ends a session (logout). Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.close_login_session(bytea) to neurant_app;

create function private.belong_to_auth_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.auth_sessions
    (auth_user_id, token_digest, ip_address, user_agent, only_company_id, expires_at)
  select u.auth_user_id, new.token_digest, new.ip_address, new.user_agent, new.company_id,
    new.expires_at
  from public.users u
  where u.company_id = new.company_id and u.id = new.user_id and u.auth_user_id is not null
  on conflict (token_digest) do nothing
  returning id into new.auth_session_id;
  return new;
end $$;
comment on function private.belong_to_auth_session() is
  'Makes a session that is opened for a company alone a part of a session of the person, who can list and end it; that session stays limited to the company. Security definer, called by a trigger, because no role may write sessions directly.';

create trigger belong_to_auth_session before insert on public.login_sessions
  for each row when (new.auth_session_id is null)
  execute function private.belong_to_auth_session();

-- 38_invitations.sql -----------------------------------------------------------------------------
-- Invitations to a company.

create table public.user_invitations (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100),
  last_name varchar(100),
  language text not null default 'es'
    constraint user_invitations_language_check check (language ~ '^[a-z]{2}$'),
  role public.user_role_enum not null default 'operador' check (role <> 'owner'),
  invited_by uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  expires_at timestamptz not null default now() + interval '7 days',
  status public.invitation_status_enum not null default 'pending',
  accepted_at timestamptz,
  accepted_by_user_id uuid,
  sent_at timestamptz not null default now(),
  sent_count integer not null default 1 check (sent_count > 0),
  reminder_sent_at timestamptz,
  reminder_count integer not null default 0 check (reminder_count between 0 and 2),
  renewed_on date,
  renewed_count smallint not null default 0
    constraint user_invitations_renewed_check check (renewed_count between 0 and 5),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  -- One row per address, renewed when the address is invited again.
  unique (company_id, email),
  foreign key (company_id, invited_by) references public.users (company_id, id),
  foreign key (company_id, accepted_by_user_id) references public.users (company_id, id),
  check (expires_at > sent_at),
  check ((status = 'accepted') = (accepted_at is not null)),
  constraint user_invitations_address_check
    check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  constraint user_invitations_names_read_check check (
    (first_name is null or first_name = '' or private.reads_as_name(first_name))
    and (last_name is null or last_name = '' or private.reads_as_name(last_name)))
);
comment on column public.user_invitations.language is
  'The language of its mails: that of the inviting person.';
comment on column public.user_invitations.token_digest is
  'SHA-256 of the token in the mailed link; the token itself is not stored.';
comment on column public.user_invitations.renewed_count is
  'How often it was sent again on the day renewed_on (UTC); it bounds the mails to one address.';
create index user_invitations_invited_by_idx on public.user_invitations (company_id, invited_by);
create index user_invitations_accepted_by_idx
  on public.user_invitations (company_id, accepted_by_user_id) where accepted_by_user_id is not null;
create index user_invitations_expiring_idx
  on public.user_invitations (expires_at) where status = 'pending';

alter table public.user_invitations enable row level security, force row level security;
-- The enum runs from the strongest role to the weakest.
create policy staff_select on public.user_invitations for select to authenticated
  using (company_id = (select private.company_id('invitations.read'))
    and role > (select private.user_role()));
-- The job of reminders reads invitations as the worker of their company, to see who sent them.
create policy worker_select on public.user_invitations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.user_invitations for select to neurant_router using (true);
create policy router_insert on public.user_invitations for insert to neurant_router with check (true);
create policy router_update on public.user_invitations for update to neurant_router using (true) with check (true);
grant select (company_id, id, email, first_name, last_name, language, role, invited_by,
  expires_at, status, accepted_at, accepted_by_user_id, sent_at, sent_count, reminder_sent_at,
  reminder_count, created_at, updated_at) on public.user_invitations to authenticated;
grant select (company_id, id, email, first_name, last_name, role, invited_by, expires_at, status,
  sent_at, reminder_count) on public.user_invitations to neurant_worker;
grant select, insert, update on public.user_invitations to neurant_router;

select private.audit_table('public.user_invitations', 'id',
  '{role,invited_by,expires_at,status,accepted_at,accepted_by_user_id,sent_at,sent_count}',
  '{email,first_name,last_name}',
  '{token_digest}',
  '{reminder_sent_at,reminder_count,created_at,updated_at,language,renewed_on,renewed_count}');

create trigger set_updated_at before update on public.user_invitations
  for each row execute function private.update_updated_at_column();

create trigger keep_user_count after insert or delete or update of status on public.user_invitations
  for each row execute function private.count_invitation();

create function private.invite_user(
  p_email text, p_role public.user_role_enum, p_first_name text, p_last_name text,
  p_token_digest bytea, p_now timestamptz default now(), p_language text default 'es')
returns table (outcome text, invitation_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('invitations.manage');
  v_user uuid := private.user_id();
  v_email text := lower(btrim(p_email));
  v_today date := (p_now at time zone 'UTC')::date;
  v_known public.user_invitations;
begin
  if v_company is null or v_user is null or not private.stands_above(p_role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  if exists (
    select from public.users u where u.company_id = v_company and u.email = v_email and u.is_active)
  then
    return query select 'already_member', null::uuid;
    return;
  end if;
  if exists (select from public.users u where u.company_id = v_company and u.email = v_email) then
    return query select 'deactivated', null::uuid;
    return;
  end if;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.email = v_email for update;
  if v_known.id is not null and not private.stands_above(v_known.role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  if v_known.status = 'pending' and v_known.expires_at > p_now then
    return query select 'already_invited', v_known.id;
    return;
  end if;
  if v_known.renewed_on = v_today and v_known.renewed_count >= 5 then
    return query select 'too_many', v_known.id;
    return;
  end if;
  insert into public.user_invitations as i (company_id, email, first_name, last_name, role,
    invited_by, token_digest, sent_at, expires_at, language)
  values (v_company, v_email, p_first_name, p_last_name, p_role, v_user, p_token_digest, p_now,
    p_now + interval '7 days', p_language)
  on conflict (company_id, email) do update
  set first_name = excluded.first_name, last_name = excluded.last_name, role = excluded.role,
    invited_by = excluded.invited_by, token_digest = excluded.token_digest, status = 'pending',
    accepted_at = null, accepted_by_user_id = null, sent_at = excluded.sent_at,
    sent_count = i.sent_count + 1, expires_at = excluded.expires_at,
    reminder_sent_at = null, reminder_count = 0, language = excluded.language,
    renewed_count = case when i.renewed_on = v_today then i.renewed_count + 1 else 1 end,
    renewed_on = v_today
  returning i.id into v_known.id;
  return query select 'invited', v_known.id;
end $$;
comment on function private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz, text) is
  'Invites a person to a role below the caller''s, for 7 days, and reserves a seat (NA002 if none is left). An address that was invited before keeps its row. Outcome: invited, already_invited, already_member, deactivated (activate the user instead), too_many (of one address in a day) or forbidden. Security definer, called by staff and API keys, because no role may write tokens and status directly.';
grant execute on function private.invite_user(text, public.user_role_enum, text, text, bytea,
  timestamptz, text) to authenticated;

create function private.renew_invitation(
  p_invitation uuid, p_token_digest bytea, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('invitations.manage');
  v_today date := (p_now at time zone 'UTC')::date;
  v_known public.user_invitations;
begin
  if v_company is null then
    return 'forbidden';
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.id = p_invitation for update;
  if v_known.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_known.role) then
    return 'forbidden';
  end if;
  if v_known.status = 'accepted' then
    return 'closed';
  end if;
  if v_known.renewed_on = v_today and v_known.renewed_count >= 5 then
    return 'too_many';
  end if;
  update public.user_invitations i
  set token_digest = p_token_digest, status = 'pending', sent_at = p_now,
    sent_count = i.sent_count + 1, expires_at = p_now + interval '7 days',
    reminder_sent_at = null, reminder_count = 0,
    renewed_count = case when i.renewed_on = v_today then i.renewed_count + 1 else 1 end,
    renewed_on = v_today
  where i.company_id = v_company and i.id = p_invitation;
  return 'renewed';
end $$;
comment on function private.renew_invitation(uuid, bytea, timestamptz) is
  'Creates a new link for seven more days; the old one ends. Outcome: renewed, closed (accepted), too_many (five in a day), forbidden (a role not below the caller''s) or not_found. Security definer, called by staff and API keys, because no role may write tokens and status directly.';
grant execute on function private.renew_invitation(uuid, bytea, timestamptz) to authenticated;

create function private.cancel_invitation(p_invitation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('invitations.manage');
  v_known public.user_invitations;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.id = p_invitation for update;
  if v_known.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_known.role) then
    return 'forbidden';
  end if;
  if v_known.status <> 'pending' then
    return 'closed';
  end if;
  update public.user_invitations i set status = 'cancelled'
  where i.company_id = v_company and i.id = p_invitation;
  return 'cancelled';
end $$;
comment on function private.cancel_invitation(uuid) is
  'Cancels a pending invitation and frees its seat. Outcome: cancelled, closed, forbidden or not_found. Security definer, called by staff and API keys, because no role may write tokens and status directly.';
grant execute on function private.cancel_invitation(uuid) to authenticated;

create function private.accept_invitation(p_token_digest bytea, p_auth_user uuid, p_first_name text DEFAULT NULL::text, p_last_name text DEFAULT NULL::text, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, user_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid;
  v_invitation public.user_invitations;
  v_email text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_user uuid := uuidv7();
begin
  perform private.refuse_told_session();
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  perform from public.companies c
  where c.id = v_company and c.subscription_status <> 'cancelled' for no key update;
  if found then
    select i.* into v_invitation from public.user_invitations i
    where i.company_id = v_company and i.token_digest = p_token_digest for update;
  end if;
  if v_invitation.id is null then
    return query select 'unknown', null::uuid, null::uuid;
    return;
  end if;
  if v_invitation.status = 'pending' and v_invitation.expires_at <= p_now then
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_invitation.id;
    v_invitation.status := 'expired';
  end if;
  if v_invitation.status <> 'pending' then
    return query select v_invitation.status::text
      || case v_invitation.status when 'accepted' then '_before' else '' end, null::uuid, null::uuid;
    return;
  end if;
  if v_email is distinct from v_invitation.email then
    return query select 'email_mismatch', null::uuid, null::uuid;
    return;
  end if;
  if exists (
    select from public.users u
    where u.company_id = v_company and (u.email = v_email or u.auth_user_id = p_auth_user))
  then
    return query select 'already_member', null::uuid, null::uuid;
    return;
  end if;
  perform set_config('request.actor', p_auth_user::text, true);
  -- In one statement, so that audit finds who did both; the seat is given back before it is taken.
  with answered as (
    update public.user_invitations i
    set status = 'accepted', accepted_at = p_now, accepted_by_user_id = v_user
    where i.company_id = v_company and i.id = v_invitation.id
    returning i.company_id, i.role, i.first_name, i.last_name, i.invited_by, i.sent_at
  )
  insert into public.users (company_id, id, auth_user_id, email, first_name, last_name, role,
    invited_by, invited_at, accepted_invitation_at, created_by)
  select a.company_id, v_user, p_auth_user, v_email,
    coalesce(p_first_name, a.first_name, split_part(v_email, '@', 1)),
    coalesce(p_last_name, a.last_name, ''), a.role, a.invited_by, a.sent_at, p_now, a.invited_by
  from answered a;
  return query select 'accepted', v_company, v_user;
end $$;
comment on function private.accept_invitation(bytea, uuid, text, text, timestamptz) is
  'Makes a login whose e-mail address was invited a member, in the invitation''s seat (NA002 if the limit was lowered meanwhile). Outcome: accepted, unknown, expired (and marked so), cancelled, accepted_before, email_mismatch or already_member. Of two concurrent calls one succeeds. Security definer, called by the web process, because the person is not a member yet.';
grant execute on function private.accept_invitation(bytea, uuid, text, text, timestamptz) to
  neurant_app;

create function private.accept_invitation_by_session(
  p_token_digest bytea, p_session_digest bytea, p_first_name text default null,
  p_last_name text default null, p_now timestamptz default now())
returns table (outcome text, company_id uuid, user_id uuid)
language sql volatile security definer set search_path = '' as $$
  select i.outcome, i.company_id, i.user_id
  from private.own_login(p_session_digest) l (login)
  cross join lateral private.accept_invitation(p_token_digest, l.login, p_first_name, p_last_name,
    p_now) i
$$;
comment on function private.accept_invitation_by_session(bytea, bytea, text, text, timestamptz) is
  'Calls accept_invitation for the person of a session; error NA006 as in own_login. Security definer, called by the web process, because the person is not a member yet.';
grant execute on function private.accept_invitation_by_session(bytea, bytea, text, text,
  timestamptz) to neurant_app;

create function private.expire_invitations(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_now integer;
  v_expired integer := 0;
begin
  for v_company in
    select c.id from public.companies c
    where exists (
      select from public.user_invitations i
      where i.company_id = c.id and i.status = 'pending' and i.expires_at <= p_now)
    order by c.id for no key update skip locked
  loop
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.status = 'pending' and i.expires_at <= p_now;
    get diagnostics v_now = row_count;
    v_expired := v_expired + v_now;
  end loop;
  return v_expired;
end $$;
comment on function private.expire_invitations(timestamptz) is
  'Marks expired invitations and frees their seats; returns their number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.expire_invitations(timestamptz) to neurant_jobs;

create function private.look_at_invitation(p_token_digest bytea, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_name text, email text, role public.user_role_enum, first_name text, last_name text, invited_by text, expires_at timestamp with time zone, has_login boolean, language text, timezone text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid;
  v_known public.user_invitations;
begin
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.token_digest = p_token_digest;
  if v_known.status = 'pending' and v_known.expires_at <= p_now then
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_known.id and i.status = 'pending'
      and i.expires_at <= p_now;
    v_known.status := 'expired';
  end if;
  if v_known.id is null then
    return query select 'unknown', null::text, null::text, null::public.user_role_enum, null::text,
      null::text, null::text, null::timestamptz, null::boolean, null::text, null::text;
    return;
  end if;
  return query
  select v_known.status::text, c.name::text, v_known.email::text, v_known.role,
    v_known.first_name::text, v_known.last_name::text,
    btrim(u.first_name || ' ' || u.last_name), v_known.expires_at,
    -- A login that only a provider made, for its company, becomes the reader's by this link.
    exists (select from auth.users a where lower(a.email) = v_known.email
      and (a.email_confirmed_at is not null or coalesce(a.encrypted_password, '') <> ''
        or not exists (select from public.users m where m.auth_user_id = a.id))),
    v_known.language,
    c.timezone::text
  from public.companies c
  join public.users u on u.company_id = c.id and u.id = v_known.invited_by
  where c.id = v_company;
end $$;
comment on function private.look_at_invitation(bytea, timestamptz) is
  'Returns the state of the invitation of a link: pending, accepted, cancelled, expired (and marked so) or unknown. Security definer, called by the web process, because the reader of the link is not signed in; the link was mailed to the invited address only.';
grant execute on function private.look_at_invitation(bytea, timestamptz) to neurant_app;

create function private.remind_next(p_token_digest bytea, p_now timestamptz default now())
returns table (
  company_id uuid, email text, role public.user_role_enum, company_name text, invited_by text,
  expires_at timestamptz, timezone text, language text)
language plpgsql security definer set search_path = '' as $$
begin
  return query
  with due as (
    select i.company_id, i.id
    from public.user_invitations i
    join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
    where i.status = 'pending' and i.expires_at > p_now
      and (i.reminder_count = 0 and i.sent_at <= p_now - interval '3 days'
        or i.reminder_count = 1 and i.sent_at <= p_now - interval '6 days')
    order by i.sent_at limit 1
    for update of i skip locked
  ), reminded as (
    update public.user_invitations i
    set reminder_count = i.reminder_count + 1, reminder_sent_at = p_now,
      token_digest = p_token_digest
    from due
    where i.company_id = due.company_id and i.id = due.id
    returning i.*
  )
  select r.company_id, r.email::text, r.role, c.name::text,
    btrim(u.first_name || ' ' || u.last_name), r.expires_at, c.timezone::text, r.language
  from reminded r
  join public.companies c on c.id = r.company_id
  join public.users u on u.company_id = r.company_id and u.id = r.invited_by;
end $$;
comment on function private.remind_next(bytea, timestamptz) is
  'Sends one reminder that is due, after three days and after six, with a new link and the old end. The mail is queued in the same transaction, so that neither exists without the other. No row: none is due. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.remind_next(bytea, timestamptz) to neurant_jobs;

create function private.invitation_mails()
returns table (invitation_id uuid, status text, error text, attempted_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select i.id, m.status, m.last_error, coalesce(m.sent_at, m.created_at)
  from public.user_invitations i
  cross join lateral (
    select l.status, l.last_error, l.sent_at, l.created_at
    from public.mails l
    where l.company_id = i.company_id and l.to_address = i.email
      and l.template in ('team.invitation', 'team.reminder')
    order by l.created_at desc limit 1) m
  where i.company_id = (select private.company_id('invitations.read'))
    and i.status = 'pending' and i.role > (select private.user_role())
$$;
comment on function private.invitation_mails() is
  'Returns the state of the newest mail of each pending invitation below the caller''s role. Security definer, called by staff and API keys, because mails are closed to the staff.';
grant execute on function private.invitation_mails() to authenticated;

create function private.invitations_a_day(p_company uuid, p_now timestamptz default now())
returns integer
language sql stable security definer set search_path = '' as $$
  select case
      when c.subscription_status = 'trialing' or c.subscription_plan = 'free'
        then case when c.created_at > p_now - interval '7 days' then 10 else 20 end
      when c.subscription_plan = 'starter' then 60
      when c.subscription_plan = 'professional' then 150
      when c.subscription_plan = 'business' then 300
      else 1000 end
  from public.companies c where c.id = p_company
$$;
comment on function private.invitations_a_day(uuid, timestamptz) is
  'Returns how many invitation mails a company may send in 24 hours (new, renewed, and invited again after cancelling); half of them, and at least ten, in an hour. Paying companies may send more, and free ones more after their first week. Security definer, called by other definers only, because it reads companies for other definers.';

create function private.check_invitation_mail(
  p_company uuid, p_to text, p_is_reminder boolean, p_now timestamptz default now()) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_day integer := private.invitations_a_day(p_company, p_now);
  v_limit record;
begin
  if exists (
    select from public.mail_refusals r
    where r.key_digest = (select private.mail_key('invitation', lower(p_to))))
  then
    raise exception 'the address wants no invitations' using errcode = 'NA007',
      detail = '{"scope": "refused", "seconds": 0}';
  end if;
  -- Two companies that write to one address count one after the other. (A company's own row is locked.)
  perform pg_advisory_xact_lock(hashtextextended('invitation mail to ' || lower(p_to), 0));
  for v_limit in
    select l.scope, min(m.created_at) + l.life - p_now as wait, count(*) as sent, l.most
    from (values
      ('address', null::uuid, lower(p_to), interval '1 day', 10),
      ('address', null, lower(p_to), interval '7 days', 20),
      ('company', p_company, null, interval '1 hour', greatest(v_day / 2, 10)),
      ('company', p_company, null, interval '1 day', v_day)) l (scope, company, address, life, most)
    join public.mails m on m.created_at > p_now - l.life
      and case l.scope
        when 'address' then m.to_address = l.address and m.template in ('team.invitation', 'team.reminder')
        else m.company_id = l.company and m.template = 'team.invitation' end
    where l.scope = 'address' or not p_is_reminder
    group by l.scope, l.life, l.most
    having count(*) >= l.most
    order by l.life desc limit 1
  loop
    raise exception 'too many invitation mails' using errcode = 'NA007',
      detail = jsonb_build_object('scope', v_limit.scope,
        'seconds', greatest(ceil(extract(epoch from v_limit.wait)), 1), 'allowed', v_limit.most)::text;
  end loop;
end $$;
comment on function private.check_invitation_mail(uuid, text, boolean, timestamptz) is
  'Raises NA007 with {"scope", "seconds"} if an invitation must not be mailed: refused (the address wants none), address (ten a day or twenty a week from all companies together) or company (private.invitations_a_day). Security definer, called by other definers only, because mails are closed to the staff.';

create function private.refuse_invitations(p_key_digest bytea, p_refuse boolean default true)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
begin
  if not p_refuse then
    delete from public.mail_refusals r where r.key_digest = p_key_digest;
    return;
  end if;
  insert into public.mail_refusals (key_digest) values (p_key_digest) on conflict do nothing;
  for v_company in
    select i.company_id from public.user_invitations i
    where i.status = 'pending' and private.mail_key('invitation', i.email) = p_key_digest
    order by i.company_id
  loop
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'cancelled'
    where i.company_id = v_company and i.status = 'pending'
      and private.mail_key('invitation', i.email) = p_key_digest;
  end loop;
end $$;
comment on function private.refuse_invitations(bytea, boolean) is
  'Records that the holder of a mailed, signed link wants no more invitations from any company (pending ones are cancelled), or wants them again. Security definer, called by the web process, because the reader of the link is not signed in.';
grant execute on function private.refuse_invitations(bytea, boolean) to neurant_app;

-- 39_api_keys.sql --------------------------------------------------------------------------------
-- API keys, idempotent requests and the rate limit of the HTTP API.

create table public.api_keys (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(100) not null check (btrim(name) <> ''),
  prefix varchar(16) not null,
  key_digest bytea not null unique check (octet_length(key_digest) = 32),
  role public.user_role_enum not null,
  scopes text[] not null default '{}' check (array_position(scopes, null) is null),
  created_by uuid not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  constraint api_keys_role_check
    check (role in ('administrador', 'supervisor', 'operador')),
  constraint api_keys_name_reads_check
    check (private.reads_as_label(name))
);
comment on table public.api_keys is
  'Keys for programs. A key acts as its maker, within its scopes and with the weaker of the key''s role and the maker''s role; it ends with the maker''s account.';
comment on column public.api_keys.prefix is
  'The first characters, by which people distinguish keys.';
comment on column public.api_keys.scopes is
  'The permissions that the key has at most; the key''s role and its maker limit them further.';
create index api_keys_created_by_idx on public.api_keys (company_id, created_by);

alter table public.api_keys enable row level security, force row level security;
create policy staff_select on public.api_keys for select to authenticated
  using (company_id = (select private.company_id('api_keys.read')));
create policy staff_insert on public.api_keys for insert to authenticated
  with check (company_id = (select private.company_id('api_keys.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.api_keys for update to authenticated
  using (company_id = (select private.company_id('api_keys.manage')))
  with check (company_id = (select private.company_id('api_keys.manage')));
create policy router_select on public.api_keys for select to neurant_router using (true);
create policy router_update on public.api_keys for update to neurant_router using (true) with check (true);
grant select (company_id, id, name, prefix, role, scopes, created_by, created_at, last_used_at,
  expires_at, revoked_at) on public.api_keys to authenticated;
grant insert (company_id, id, name, prefix, key_digest, role, scopes, created_by, expires_at) on
  public.api_keys to authenticated;
grant update (name) on public.api_keys to authenticated;
grant select on public.api_keys to neurant_router;
grant update (last_used_at, revoked_at) on public.api_keys to neurant_router;

select private.audit_table('public.api_keys', 'created_by',
  '{prefix,role,created_by,expires_at,revoked_at,scopes}',
  '{name}',
  '{key_digest}',
  '{last_used_at,created_at}');

create trigger check_key_scopes before insert or update of scopes on public.api_keys
  for each row execute function private.check_key_scopes();

create table public.idempotency_keys (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  key_digest bytea not null check (octet_length(key_digest) = 32),
  request_digest bytea not null check (octet_length(request_digest) = 32),
  status smallint check (status between 200 and 399),
  answer_encrypted bytea,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, key_digest),
  check ((status is null) = (answer_encrypted is null))
);
comment on table public.idempotency_keys is
  'Requests of the last day that carried an Idempotency-Key. Each row is written in the transaction of the request''s effects.';
comment on column public.idempotency_keys.key_digest is 'SHA-256 of the caller and the key.';
comment on column public.idempotency_keys.answer_encrypted is
  'Headers and body, encrypted under a key derived from the Idempotency-Key itself, so that only a client that repeats the key can read them.';
create index idempotency_keys_created_idx on public.idempotency_keys (created_at);

alter table public.idempotency_keys enable row level security, force row level security;
create policy router_select on public.idempotency_keys for select to neurant_router using (true);
create policy router_insert on public.idempotency_keys for insert to neurant_router with check (true);
create policy router_update on public.idempotency_keys for update to neurant_router using (true) with check (true);
create policy router_delete on public.idempotency_keys for delete to neurant_router using (true);
grant select, insert, delete on public.idempotency_keys to neurant_router;
grant update (status, answer_encrypted) on public.idempotency_keys to neurant_router;

create unlogged table public.request_allowances (
  company_id uuid not null primary key references public.companies (id),
  tokens double precision not null,
  refilled_at timestamptz not null default clock_timestamp(),
  page_tokens double precision,
  page_refilled_at timestamptz
) with (fillfactor = 50);
comment on table public.request_allowances is
  'A token bucket per company, from which each web process takes a share at a time. Unlogged: after a crash every bucket is full.';
comment on column public.request_allowances.page_tokens is
  'The bucket of the console''s pages. Null: no page was opened yet, so the bucket is full.';

alter table public.request_allowances enable row level security, force row level security;
create policy router_select on public.request_allowances for select to neurant_router using (true);
create policy router_insert on public.request_allowances for insert to neurant_router with check (true);
create policy router_update on public.request_allowances for update to neurant_router using (true) with check (true);
grant select, insert on public.request_allowances to neurant_router;
grant update (tokens, refilled_at, page_tokens, page_refilled_at) on public.request_allowances to
  neurant_router;

create function private.revoke_api_key(p_key uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('api_keys.manage');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  update public.api_keys k set revoked_at = now()
  where k.company_id = v_company and k.id = p_key and k.revoked_at is null;
  if found then
    return 'revoked';
  end if;
  return case when exists (
    select from public.api_keys k where k.company_id = v_company and k.id = p_key
  ) then 'revoked_before' else 'not_found' end;
end $$;
comment on function private.revoke_api_key(uuid) is
  'Ends a key for good. Outcome: revoked, revoked_before, not_found or forbidden. Security definer, called by staff and API keys, because no role may write the timestamp directly, so that no one can undo it.';
grant execute on function private.revoke_api_key(uuid) to authenticated;

create function private.begin_idempotent(p_key_digest bytea, p_request_digest bytea)
returns table (outcome text, status smallint, answer_encrypted bytea)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.read');
  v_known public.idempotency_keys;
begin
  if v_company is null then
    return query select 'nobody', null::smallint, null::bytea;
    return;
  end if;
  -- Held until the first request has committed or failed: meanwhile the same key is in flight.
  if not pg_try_advisory_xact_lock(
    hashtextextended(v_company::text || encode(p_key_digest, 'hex'), 20261123)) then
    return query select 'in_flight', null::smallint, null::bytea;
    return;
  end if;
  select k.* into v_known from public.idempotency_keys k
  where k.company_id = v_company and k.key_digest = p_key_digest;
  if v_known.id is null then
    insert into public.idempotency_keys (company_id, key_digest, request_digest)
    values (v_company, p_key_digest, p_request_digest);
    return query select 'new', null::smallint, null::bytea;
  elsif v_known.request_digest <> p_request_digest then
    return query select 'other_request', null::smallint, null::bytea;
  else
    return query select 'answered', v_known.status, v_known.answer_encrypted;
  end if;
end $$;
comment on function private.begin_idempotent(bytea, bytea) is
  'Begins a request with an Idempotency-Key. Outcome: new, answered (with the stored answer), in_flight, other_request (the key was used for another request) or nobody (the caller is no principal). Security definer, called by staff and API keys, because no role may read its rows directly.';
grant execute on function private.begin_idempotent(bytea, bytea) to authenticated;

create function private.end_idempotent(p_key_digest bytea, p_status smallint, p_answer_encrypted bytea)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.idempotency_keys k set status = p_status, answer_encrypted = p_answer_encrypted
  where k.company_id = (select private.company_id('company.read'))
    and k.key_digest = p_key_digest and k.status is null
$$;
comment on function private.end_idempotent(bytea, smallint, bytea) is
  'Stores the answer of a request, in the transaction of its effects. Security definer, called by staff and API keys, because no role may write its rows directly.';
grant execute on function private.end_idempotent(bytea, smallint, bytea) to authenticated;

create function private.drop_idempotency_keys(p_now timestamptz default now()) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
  v_dropped bigint;
begin
  delete from public.idempotency_keys k where k.created_at < p_now - interval '1 day';
  get diagnostics v_dropped = row_count;
  return v_dropped;
end $$;
comment on function private.drop_idempotency_keys(timestamptz) is
  'Deletes rows older than a day; returns their number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.drop_idempotency_keys(timestamptz) to neurant_jobs;

create function private.lease_requests(p_company uuid, p_share integer)
returns table (leased integer, remaining integer, wait_seconds double precision, number integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_number integer;
  v_now timestamptz := clock_timestamp();
  v_tokens double precision;
  v_leased integer;
begin
  select p.requests_per_minute into v_number
  from public.companies c join public.plans p on p.plan = c.subscription_plan
  where c.id = p_company;
  if v_number is null then
    return;
  end if;
  insert into public.request_allowances as a (company_id, tokens, refilled_at)
  values (p_company, v_number, v_now)
  on conflict (company_id) do update
  set tokens = least(v_number, a.tokens
      + greatest(extract(epoch from v_now - a.refilled_at), 0) * v_number / 60.0),
    refilled_at = greatest(a.refilled_at, v_now)
  returning a.tokens into v_tokens;
  v_leased := greatest(least(p_share, floor(v_tokens)::integer), 0);
  if v_leased > 0 then
    update public.request_allowances a set tokens = a.tokens - v_leased
    where a.company_id = p_company;
  end if;
  return query select v_leased, floor(v_tokens)::integer - v_leased,
    (case when v_leased = 0 then (1 - v_tokens) * 60.0 / v_number else 0 end), v_number;
end $$;
comment on function private.lease_requests(uuid, integer) is
  'Takes up to a share of a company''s requests of this minute for one web process. Returns how many it got, how many are left for all, the seconds until there is one (0: it got some), and the plan''s number a minute. Security definer, called by the web process, because it is called before the principal is known, and no role may write the bucket directly.';
grant execute on function private.lease_requests(uuid, integer) to neurant_app;

create function private.lease_page_requests(p_company uuid, p_share integer)
returns table (leased integer, remaining integer, wait_seconds double precision)
language plpgsql security definer set search_path = '' as $$
declare
  v_number integer;
  v_now timestamptz := clock_timestamp();
  v_tokens double precision;
  v_leased integer;
begin
  select p.requests_per_minute into v_number
  from public.companies c join public.plans p on p.plan = c.subscription_plan
  where c.id = p_company;
  if v_number is null then
    return;
  end if;
  insert into public.request_allowances as a (company_id, tokens, page_tokens, page_refilled_at)
  values (p_company, v_number, v_number, v_now)
  on conflict (company_id) do update
  set page_tokens = least(v_number, coalesce(a.page_tokens, v_number)
      + greatest(extract(epoch from v_now - coalesce(a.page_refilled_at, v_now)), 0)
        * v_number / 60.0),
    page_refilled_at = greatest(a.page_refilled_at, v_now)
  returning a.page_tokens into v_tokens;
  v_leased := greatest(least(p_share, floor(v_tokens)::integer), 0);
  if v_leased > 0 then
    update public.request_allowances a set page_tokens = a.page_tokens - v_leased
    where a.company_id = p_company;
  end if;
  return query select v_leased, floor(v_tokens)::integer - v_leased,
    (case when v_leased = 0 then (1 - v_tokens) * 60.0 / v_number else 0 end);
end $$;
comment on function private.lease_page_requests(uuid, integer) is
  'Takes up to a share of a company''s console pages of this minute for one web process. Returns how many it got, how many are left for all, and the seconds until there is one (0: it got some). Security definer, called by the web process, because it is called before the reader''s permissions are known, and no role may write the bucket directly.';
grant execute on function private.lease_page_requests(uuid, integer) to neurant_app;

-- 40_chatbots.sql --------------------------------------------------------------------------------
-- Chatbots: templates, bots and their staff.

create function private.is_conversations(p_examples jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select jsonb_typeof(p_examples) = 'array' and not exists (
    select
    from jsonb_array_elements(p_examples) as c (example)
    where jsonb_typeof(c.example) <> 'object' or coalesce(c.example ->> 'title', '') = ''
      or jsonb_typeof(c.example -> 'turns') is distinct from 'array'
      or exists (
        select from jsonb_path_query(c.example, '$.turns[*]') as t (turn)
        where t.turn ->> 'from' is null or t.turn ->> 'from' not in ('customer', 'bot')
          or coalesce(t.turn ->> 'text', '') = ''))
$$;
comment on function private.is_conversations(jsonb) is
  'Returns whether a value is a list of example conversations: [{"title": …, "turns": [{"from": "customer" or "bot", "text": …}, …]}, …].';
grant execute on function private.is_conversations(jsonb) to neurant_router;

create function private.is_personality(p_traits jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select jsonb_typeof(p_traits) = 'object'
    and coalesce(p_traits ->> 'tone' in ('friendly', 'professional', 'helpful', 'expert', 'formal'), true)
    and coalesce(p_traits ->> 'language' in ('es', 'en'), true)
    and coalesce(p_traits ->> 'address' in ('tu', 'usted', 'vos'), true)
    and coalesce(p_traits ->> 'style' in ('concise', 'detailed'), true)
    and coalesce(jsonb_typeof(p_traits -> 'persona') = 'string'
      and char_length(p_traits ->> 'persona') between 1 and 60
      and p_traits ->> 'persona' !~ '[[:cntrl:]]', true)
$$;
comment on function private.is_personality(jsonb) is
  'Returns whether the known traits of a personality are well formed: tone, language (es, en), address (tu, usted, vos), style (concise, detailed), persona (the name that the bot gives itself). Other traits are free.';
grant execute on function private.is_personality(jsonb) to authenticated, neurant_worker,
  neurant_router;

create function private.is_template_text(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select regexp_replace(p_text, '\{\{(company_name|persona|knowledge|contact)\}\}', '', 'g')
    !~ '\{\{|\}\}'
$$;
comment on function private.is_template_text(text) is
  'Returns whether all placeholders of a text are known: {{company_name}}, {{persona}} (the bot''s own name), {{knowledge}} (where its answers come from), {{contact}} (phone, else website, else e-mail of the company).';
grant execute on function private.is_template_text(text) to neurant_router;

create function private.is_working_hours(p_hours jsonb) returns boolean
language plpgsql immutable set search_path = '' as $$
declare
  v_day text;
  v_intervals jsonb;
  v_interval jsonb;
begin
  if jsonb_typeof(p_hours) is distinct from 'object' then
    return false;
  end if;
  for v_day, v_intervals in select * from jsonb_each(p_hours) loop
    if v_day not in ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday')
      or jsonb_typeof(v_intervals) <> 'array' or jsonb_array_length(v_intervals) > 6 then
      return false;
    end if;
    for v_interval in select * from jsonb_array_elements(v_intervals) loop
      if jsonb_typeof(v_interval) <> 'array' or jsonb_array_length(v_interval) <> 2
        or jsonb_typeof(v_interval -> 0) <> 'string' or jsonb_typeof(v_interval -> 1) <> 'string'
        or v_interval ->> 0 !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
        or v_interval ->> 1 !~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
        or v_interval ->> 0 = v_interval ->> 1 then
        return false;
      end if;
    end loop;
  end loop;
  return p_hours = '{}' or jsonb_path_exists(p_hours, '$.*[*]');
end $$;
comment on function private.is_working_hours(jsonb) is
  'Returns whether a value is a table of working hours: {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], …}, in the time zone of the bot. A day that is missing or empty is closed; an interval that ends before it begins ends on the next day; {} sets no hours: people are always there.';
grant execute on function private.is_working_hours(jsonb) to authenticated, neurant_worker,
  neurant_router;

create table public.chatbot_templates (
  id uuid primary key default uuidv7(),
  name varchar(255) not null unique,
  description text not null,
  industry varchar(100) not null,
  category varchar(100) not null check (category in ('customer_service', 'sales', 'support')),
  system_prompt_template text not null,
  default_personality jsonb default '{}' check (jsonb_typeof(default_personality) = 'object'),
  recommended_settings jsonb default '{}' check (jsonb_typeof(recommended_settings) = 'object'),
  usage_count integer not null default 0 check (usage_count >= 0),
  is_featured boolean not null default false,
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  example_conversations jsonb default '[]' check (jsonb_typeof(example_conversations) = 'array'),
  constraint chatbot_templates_industry_fkey
    foreign key (industry) references public.industries (industry),
  constraint chatbot_templates_text_check
    check (private.is_template_text(system_prompt_template)),
  constraint chatbot_templates_personality_check
    check (private.is_personality(default_personality)),
  constraint chatbot_templates_hours_check
    check (recommended_settings -> 'working_hours' is null
      or private.is_working_hours(recommended_settings -> 'working_hours')),
  constraint chatbot_templates_examples_check
    check (private.is_conversations(example_conversations))
);
comment on table public.chatbot_templates is
  'Platform table: every company reads it, migrations write it.';
create index chatbot_templates_industry_idx on public.chatbot_templates (industry);

alter table public.chatbot_templates enable row level security, force row level security;
create policy everybody_select on public.chatbot_templates for select
  to authenticated, neurant_worker, neurant_router using (true);
create policy router_update on public.chatbot_templates for update to neurant_router using (true) with check (true);
grant select on public.chatbot_templates to authenticated, neurant_worker, neurant_router;
grant update (usage_count) on public.chatbot_templates to neurant_router;

create trigger set_updated_at before update on public.chatbot_templates
  for each row execute function private.update_updated_at_column();

create table public.chatbots (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  template_id uuid references public.chatbot_templates (id),
  name varchar(255) not null check (btrim(name) <> ''),
  description text,
  avatar_url text,
  system_prompt text not null,
  personality_traits jsonb default '{}',
  response_delay_ms integer default 1000 check (response_delay_ms between 0 and 10000),
  max_context_messages integer default 10 check (max_context_messages between 1 and 50),
  fallback_message text default 'No puedo ayudarte con eso. ¿Te gustaría hablar con un operador?',
  channels jsonb not null default '[]',
  channel_configs jsonb default '{}',
  is_active boolean not null default true,
  is_training boolean not null default false,
  training_progress integer default 0 check (training_progress between 0 and 100),
  working_hours jsonb default '{}',
  timezone varchar(50) default 'America/Bogota' check (private.is_timezone(timezone)),
  hitl_enabled boolean not null default true,
  hitl_triggers jsonb default '["no_answer", "user_request", "keywords"]'
    check (jsonb_typeof(hitl_triggers) = 'array'),
  hitl_trigger_keywords text[] default '{}',
  auto_escalate_after_minutes integer default 5 check (auto_escalate_after_minutes between 1 and 1440),
  total_conversations integer not null default 0,
  total_messages integer not null default 0,
  avg_response_time_ms integer default 0,
  satisfaction_score decimal(3, 2) default 0.0,
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid not null,
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  constraint chatbots_satisfaction_score_check check (satisfaction_score between 0 and 5),
  constraint chatbots_channels_check check (
    jsonb_typeof(channels) = 'array' and channels <@ '["whatsapp", "telegram", "slack", "web"]'),
  constraint chatbots_retired_check check (retired_at is null or not is_active),
  constraint chatbots_working_hours_check check (jsonb_typeof(working_hours) = 'object'),
  constraint chatbots_personality_check
    check (jsonb_typeof(personality_traits) = 'object'),
  constraint chatbots_keywords_check
    check (array_position(hitl_trigger_keywords, '') is null),
  constraint chatbots_hours_check check (private.is_working_hours(working_hours)),
  constraint chatbots_traits_check check (private.is_personality(personality_traits)),
  constraint chatbots_avatar_check check (private.is_https(avatar_url)),
  constraint chatbots_prompt_check check (char_length(system_prompt) <= 5000),
  constraint chatbots_triggers_check
    check (hitl_triggers <@ '["no_answer", "user_request", "keywords"]'),
  constraint chatbots_name_reads_check
    check (private.reads_as_name(name))
);
comment on column public.chatbots.personality_traits is
  'The words in which the bot greets, thanks and says that it does not know, and its own name (see private.is_personality). Quotes of documents stay as they are written. Without an address, the tone and the country of the time zone decide between tú, usted and vos.';
comment on column public.chatbots.max_context_messages is
  'The number of messages before the open question that a reply reads.';
comment on column public.chatbots.fallback_message is
  'What the bot says whenever it has no answer, whether or not a person is called; null: a standard text.';
comment on column public.chatbots.channels is
  'Derived: the channels of the connected channel_accounts.';
comment on column public.chatbots.working_hours is
  'When people attend (see private.is_working_hours). The bot itself always answers; outside these hours a handover waits in the queue and the customer is told when people are back.';
comment on column public.chatbots.total_conversations is
  'Conversations that ever began, archived ones as well; as of the last rollup of analytics_daily.';
comment on column public.chatbots.total_messages is
  'Messages of all conversations, archived ones as well; as of the last rollup of analytics_daily.';
comment on column public.chatbots.avg_response_time_ms is
  'Average processing_time_ms of all the bot''s messages; 0: none has one. As of the last rollup of analytics_daily.';
comment on column public.chatbots.satisfaction_score is
  'Average rating of all rated conversations; 0: none is rated. As of the last rollup of analytics_daily.';
create unique index chatbots_name_key on public.chatbots (company_id, name) where retired_at is null;
create index chatbots_created_by_idx on public.chatbots (company_id, created_by);
create index chatbots_template_idx on public.chatbots (template_id) where template_id is not null;
create index chatbots_words_idx on public.chatbots using gin (
  company_id extensions.uuid_ops,
  (to_tsvector('private.spanish'::regconfig, name || ' ' || coalesce(description, ''))
    || to_tsvector('private.words'::regconfig, name || ' ' || coalesce(description, ''))));

alter table public.chatbots enable row level security, force row level security;
create policy staff_select on public.chatbots for select to authenticated
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots())
      or id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.chatbots for insert to authenticated
  with check (company_id = (select private.company_id('chatbots.edit'))
    and created_by = (select private.user_id()));
create policy staff_update on public.chatbots for update to authenticated
  using (company_id = (select private.company_id('chatbots.edit')))
  with check (company_id = (select private.company_id('chatbots.edit')));
create policy worker_select on public.chatbots for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.chatbots for select to neurant_router using (true);
create policy router_update on public.chatbots for update to neurant_router using (true) with check (true);
grant select on public.chatbots to authenticated, neurant_worker, neurant_router;
grant insert (company_id, id, template_id, name, description, avatar_url, system_prompt,
  personality_traits, response_delay_ms, max_context_messages, fallback_message, is_active,
  working_hours, timezone, hitl_enabled, hitl_triggers, hitl_trigger_keywords,
  auto_escalate_after_minutes, created_by) on public.chatbots to authenticated;
grant update (name, description, avatar_url, system_prompt, personality_traits, response_delay_ms,
  max_context_messages, fallback_message, is_active, working_hours, timezone, hitl_enabled,
  hitl_triggers, hitl_trigger_keywords, auto_escalate_after_minutes) on public.chatbots to
  authenticated;
grant update (channels, is_active, total_conversations, total_messages, avg_response_time_ms,
  satisfaction_score, retired_at) on public.chatbots to neurant_router;

select private.audit_table('public.chatbots', 'id',
  '{response_delay_ms,max_context_messages,is_active,timezone,hitl_enabled,
    auto_escalate_after_minutes,retired_at,created_by,template_id}',
  '{name,description,avatar_url,system_prompt,personality_traits,fallback_message,
    working_hours,hitl_triggers,hitl_trigger_keywords}',
  '{channel_configs}',
  '{channels,is_training,training_progress,total_conversations,total_messages,
    avg_response_time_ms,response_time_total_ms,response_time_count,satisfaction_score,
    created_at,updated_at}');

-- A change of a derived figure is no edit of the bot.
create trigger set_updated_at before update on public.chatbots
  for each row when ((old.total_conversations, old.total_messages, old.avg_response_time_ms,
      old.satisfaction_score)
    is not distinct from (new.total_conversations, new.total_messages, new.avg_response_time_ms,
      new.satisfaction_score))
  execute function private.update_updated_at_column();

create trigger keep_chatbot_count after insert or delete or update of retired_at on public.chatbots
  for each row execute function private.count_chatbot();

create table public.chatbot_operators (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  operator_id uuid not null,
  assigned_by uuid not null,
  assigned_at timestamptz not null default now(),
  is_active boolean not null default true,
  primary key (company_id, id),
  unique (company_id, chatbot_id, operator_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, assigned_by) references public.users (company_id, id)
);
create index chatbot_operators_operator_idx on public.chatbot_operators (company_id, operator_id);
create index chatbot_operators_assigned_by_idx on public.chatbot_operators (company_id, assigned_by);

alter table public.chatbot_operators enable row level security, force row level security;
create policy staff_select on public.chatbot_operators for select to authenticated
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots()) or operator_id = (select private.user_id())));
create policy staff_insert on public.chatbot_operators for insert to authenticated
  with check (company_id = (select private.company_id('chatbots.assign_operators'))
    and assigned_by = (select private.user_id()));
create policy staff_update on public.chatbot_operators for update to authenticated
  using (company_id = (select private.company_id('chatbots.assign_operators')))
  with check (company_id = (select private.company_id('chatbots.assign_operators')));
create policy router_select on public.chatbot_operators for select to neurant_router using (true);
create policy router_update on public.chatbot_operators for update to neurant_router
  using (true) with check (true);
grant select on public.chatbot_operators to authenticated, neurant_router;
grant insert (company_id, chatbot_id, operator_id, assigned_by) on public.chatbot_operators to
  authenticated;
grant update (is_active) on public.chatbot_operators to authenticated, neurant_router;

select private.audit_table('public.chatbot_operators', 'operator_id',
  '{chatbot_id,operator_id,assigned_by,is_active}',
  '{}',
  '{}',
  '{assigned_at}');

create trigger check_operator_role before insert or update on public.chatbot_operators
  for each row execute function private.check_operator_role();

create table public.chatbot_supervisors (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  supervisor_id uuid not null,
  assigned_by uuid not null,
  assigned_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, supervisor_id) references public.users (company_id, id),
  foreign key (company_id, assigned_by) references public.users (company_id, id)
);
comment on table public.chatbot_supervisors is 'The one supervisor in charge of a bot.';
create index chatbot_supervisors_supervisor_idx on public.chatbot_supervisors (company_id, supervisor_id);
create index chatbot_supervisors_assigned_by_idx on public.chatbot_supervisors (company_id, assigned_by);

alter table public.chatbot_supervisors enable row level security, force row level security;
create policy staff_select on public.chatbot_supervisors for select to authenticated
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.chatbot_supervisors for insert to authenticated
  with check (company_id = (select private.company_id('chatbots.assign_supervisor'))
    and assigned_by = (select private.user_id()));
create policy staff_delete on public.chatbot_supervisors for delete to authenticated
  using (company_id = (select private.company_id('chatbots.assign_supervisor')));
create policy router_select on public.chatbot_supervisors for select to neurant_router using (true);
create policy router_delete on public.chatbot_supervisors for delete to neurant_router using (true);
grant select, delete on public.chatbot_supervisors to authenticated, neurant_router;
grant insert (company_id, chatbot_id, supervisor_id, assigned_by) on public.chatbot_supervisors to
  authenticated;

select private.audit_table('public.chatbot_supervisors', 'supervisor_id',
  '{chatbot_id,supervisor_id,assigned_by}',
  '{}',
  '{}',
  '{assigned_at}');

create trigger check_supervisor_role before insert or update on public.chatbot_supervisors
  for each row execute function private.check_supervisor_role();

create function private.retire_chatbot(p_chatbot uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('chatbots.retire');
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  update public.chatbots b set retired_at = now(), is_active = false
  where b.company_id = v_company and b.id = p_chatbot and b.retired_at is null;
  if not found then
    return 'not_found';
  end if;
  update public.channel_accounts a set status = 'disconnected', status_detail = 'chatbot_retired'
  where a.company_id = v_company and a.chatbot_id = p_chatbot;
  return 'retired';
end $$;
comment on function private.retire_chatbot(uuid) is
  'Takes a bot out of service for good; its history stays. Outcome: retired or not_found. Security definer, called by staff and API keys, because supervisors edit bots, but only the owner and administradores retire them.';
grant execute on function private.retire_chatbot(uuid) to authenticated;

create function private.count_template_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.chatbot_templates t set usage_count = t.usage_count + 1 where t.id = new.template_id;
  return null;
end $$;
comment on function private.count_template_use() is
  'Counts the bots that began from a template. Security definer, called by a trigger, because no role that serves tenants may write templates.';

create trigger count_template_use after insert on public.chatbots
  for each row when (new.template_id is not null) execute function private.count_template_use();

create function private.is_open(p_hours jsonb, p_timezone text, p_at timestamptz) returns boolean
language sql stable set search_path = '' as $$
  select p_hours is null or p_hours = '{}' or exists (
    select
    from (select p_at at time zone p_timezone as moment) as local
    cross join lateral (values
      (lower(to_char(local.moment, 'FMday')), to_char(local.moment, 'HH24:MI'), false),
      (lower(to_char(local.moment - interval '1 day', 'FMday')), to_char(local.moment, 'HH24:MI'), true)
    ) as asked (day, clock, is_day_after)
    cross join lateral jsonb_array_elements(coalesce(p_hours -> asked.day, '[]')) as one (span)
    where case
      when asked.is_day_after then one.span ->> 1 < one.span ->> 0 and asked.clock < one.span ->> 1
      when one.span ->> 1 < one.span ->> 0 then asked.clock >= one.span ->> 0
      else asked.clock >= one.span ->> 0 and asked.clock < one.span ->> 1 end)
$$;
comment on function private.is_open(jsonb, text, timestamptz) is
  'Returns whether people attend at a time, by the hours (see is_working_hours) in the given time zone.';
grant execute on function private.is_open(jsonb, text, timestamptz) to authenticated,
  neurant_worker, neurant_router;

create function private.opens_at(p_hours jsonb, p_timezone text, p_at timestamptz)
returns timestamptz
language sql stable set search_path = '' as $$
  select min(c.moment)
  from (
    select (day.local + (one.span ->> 0)::time) at time zone p_timezone + shift.by as moment
    from generate_series(0, 8) as n (days)
    cross join lateral (
      select date_trunc('day', p_at at time zone p_timezone) + n.days * interval '1 day' as local
    ) as day
    cross join lateral jsonb_array_elements(
      coalesce(p_hours -> lower(to_char(day.local, 'FMday')), '[]')) as one (span)
    -- A clock that is set back shows an hour twice.
    cross join (values (interval '0'), (interval '1 hour'), (interval '-1 hour'),
      (interval '30 minutes'), (interval '-30 minutes')) as shift (by)
    union all
    -- Clocks are changed on the half hours, and that may happen inside of an interval.
    select date_bin('30 minutes', p_at, 'epoch') + n.halves * interval '30 minutes'
    from generate_series(1, 8 * 48) as n (halves)
  ) as c
  where not private.is_open(p_hours, p_timezone, p_at)
    and c.moment > p_at and private.is_open(p_hours, p_timezone, c.moment)
$$;
comment on function private.opens_at(jsonb, text, timestamptz) is
  'Returns when people are back; null while they attend.';
grant execute on function private.opens_at(jsonb, text, timestamptz) to authenticated,
  neurant_worker, neurant_router;

create function private.fill_template(p_text text, p_values jsonb) returns text
language plpgsql immutable set search_path = '' as $$
declare
  v_name text;
begin
  foreach v_name in array '{company_name,persona,knowledge,contact}'::text[] loop
    -- No value may bring a placeholder of its own.
    p_text := replace(p_text, '{{' || v_name || '}}',
      regexp_replace(coalesce(p_values ->> v_name, ''), '[{}]+', '', 'g'));
  end loop;
  return p_text;
end $$;
comment on function private.fill_template(text, jsonb) is
  'Returns a template''s text with its placeholders filled in.';
grant execute on function private.fill_template(text, jsonb) to authenticated;

create function private.search_chatbots(p_words text) returns table (chatbot_id uuid)
language plpgsql stable security definer set search_path = '' as $$
begin
  return query execute $query$
    select b.id from public.chatbots b
    where b.company_id = $1
      and (to_tsvector('private.spanish'::regconfig, b.name || ' ' || coalesce(b.description, ''))
        || to_tsvector('private.words'::regconfig, b.name || ' ' || coalesce(b.description, '')))
        @@ $2
      and ($3 or b.id = any ($4))
  $query$
  using private.company_id('chatbots.read'), private.typed_query(p_words, ''), private.sees_all_chatbots(),
    private.my_chatbot_ids();
end $$;
comment on function private.search_chatbots(text) is
  'Finds the bots within the caller''s scope by name and description. Security definer, called by staff and API keys, because under row level security no text index could be used.';
grant execute on function private.search_chatbots(text) to authenticated;

-- 41_channels.sql --------------------------------------------------------------------------------
-- Channels: the accounts by which people reach bots.

create table public.channel_accounts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  channel public.conversation_channel_enum not null,
  routing_id varchar(100) not null unique check (routing_id ~ '^[A-Za-z0-9_-]{8,100}$'),
  display_name varchar(255) not null,
  status text not null default 'connected' check (status in ('connected', 'paused', 'error', 'disconnected')),
  status_detail text,
  secret_digest bytea check (octet_length(secret_digest) = 32),
  secrets_encrypted bytea,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (channel = 'web' or secret_digest is not null),
  constraint channel_accounts_name_reads_check
    check (private.reads_as_name(display_name))
);
comment on table public.channel_accounts is
  'One row per connected Telegram bot, WhatsApp number, Slack workspace or web chat.';
comment on column public.channel_accounts.routing_id is
  'The identifier in the address that the channel or the page calls. It is unique across companies, because it determines the company.';
comment on column public.channel_accounts.secret_digest is
  'SHA-256 of the secret that authenticates the channel; the secret itself is not stored.';
create index channel_accounts_chatbot_idx on public.channel_accounts (company_id, chatbot_id);

alter table public.channel_accounts enable row level security, force row level security;
create policy staff_select on public.channel_accounts for select to authenticated
  using (company_id = (select private.company_id('channels.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.channel_accounts for insert to authenticated
  with check (company_id = (select private.company_id('channels.manage')));
create policy staff_update on public.channel_accounts for update to authenticated
  using (company_id = (select private.company_id('channels.manage')))
  with check (company_id = (select private.company_id('channels.manage')));
create policy worker_select on public.channel_accounts for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.channel_accounts for select to neurant_router using (true);
create policy router_update on public.channel_accounts for update to neurant_router using (true) with check (true);
grant select (company_id, id, chatbot_id, channel, routing_id, display_name, status,
  status_detail, created_at, updated_at) on public.channel_accounts to authenticated;
grant insert (company_id, id, chatbot_id, channel, routing_id, display_name, secret_digest,
  secrets_encrypted) on public.channel_accounts to authenticated;
grant update (display_name, status, status_detail, secret_digest, secrets_encrypted) on
  public.channel_accounts to authenticated;
grant select on public.channel_accounts to neurant_worker, neurant_router;
grant update (status, status_detail) on public.channel_accounts to neurant_router;

select private.audit_table('public.channel_accounts', 'id',
  '{chatbot_id,channel,status}',
  '{routing_id,display_name,status_detail}',
  '{secret_digest,secrets_encrypted}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.channel_accounts
  for each row execute function private.update_updated_at_column();

create trigger allow_channel after insert or update of status, channel on public.channel_accounts
  for each row when (new.status in ('connected', 'error')) execute function private.allow_channel();

create function private.derive_chatbot_channels() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_row record := coalesce(new, old);
begin
  update public.chatbots b set channels = coalesce((
    select jsonb_agg(distinct a.channel order by a.channel)
    from public.channel_accounts a
    where a.company_id = b.company_id and a.chatbot_id = b.id and a.status = 'connected'), '[]')
  where b.company_id = v_row.company_id and b.id = v_row.chatbot_id;
  return null;
end $$;
comment on function private.derive_chatbot_channels() is
  'Sets chatbots.channels from channel_accounts. Security definer, called by a trigger, because no role may write this column directly.';

create trigger derive_chatbot_channels after insert or update or delete on public.channel_accounts
  for each row execute function private.derive_chatbot_channels();

create function private.prove_webhook(p_routing_id text, p_credential bytea) returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select case when a.secret_digest = p_credential then 'genuine' else 'refused' end
    from public.channel_accounts a
    join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
    where a.routing_id = p_routing_id and a.status = 'connected'), 'unknown')
$$;
comment on function private.prove_webhook(text, bytea) is
  'Returns whether a caller with an unreadable body is the channel at all: genuine, refused or unknown. Security definer, called by the web process, because webhooks belong to no principal.';
grant execute on function private.prove_webhook(text, bytea) to neurant_app;

create function private.web_chat(p_routing_id text)
returns table (company_name text, chatbot_name text, description text, language text,
  persona text, tone text, address text, style text, timezone text, avatar_url text,
  has_people boolean)
language sql stable security definer set search_path = '' as $$
  select c.name, b.name, b.description, b.personality_traits ->> 'language',
    b.personality_traits ->> 'persona', b.personality_traits ->> 'tone',
    b.personality_traits ->> 'address', b.personality_traits ->> 'style', b.timezone, b.avatar_url,
    b.hitl_enabled and b.hitl_triggers @> '["user_request"]' and c.max_hitl_concurrent <> 0
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  join public.chatbots b on b.company_id = a.company_id and b.id = a.chatbot_id
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
    and b.retired_at is null
$$;
comment on function private.web_chat(text) is
  'Returns the public data of a web chat: the names of the company and the bot, persona, tone, form of address, style, time zone, picture, and whether a person can be requested. Security definer, called by the web process, because the reader is not signed in.';
grant execute on function private.web_chat(text) to neurant_app;

create function private.queued_line(
  p_company uuid, p_chatbot uuid, p_now timestamptz default now())
returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((
    -- The clock of the place: what is said later in another zone still says this hour.
    select 'hitl_closed:' || to_char(private.opens_at(b.working_hours, b.timezone, p_now)
      at time zone b.timezone, 'YYYY-MM-DD"T"HH24:MI')
    from public.chatbots b
    where b.company_id = p_company and b.id = p_chatbot and b.working_hours <> '{}'),
    'hitl_queued')
$$;
comment on function private.queued_line(uuid, uuid, timestamptz) is
  'Returns the system line of a waiting handover: hitl_queued, or hitl_closed:<when people are back, in the bot''s time zone>. Security definer, called by other definers only, because the visitor or channel that requested a person may not read bots.';

-- 42_visitor_limits.sql --------------------------------------------------------------------------
-- Limits of visitors: how much the web chat accepts from one address, network, session, bot or
-- company.

-- The generic cell rate algorithm (ITU-T I.371): one timestamp per key says how much of its
-- allowance is used.
create unlogged table public.visitor_allowances (
  key_digest bytea not null primary key check (octet_length(key_digest) = 32),
  used_until timestamptz not null
) with (fillfactor = 50);
comment on table public.visitor_allowances is
  'How much of each visitor limit is used, shared by all web processes. The key is the SHA-256 of action, dimension and value, so that no address is stored. A timestamp in the past means that the whole allowance is free. Unlogged: after a crash every allowance is free.';

alter table public.visitor_allowances enable row level security, force row level security;
create policy router_select on public.visitor_allowances for select to neurant_router using (true);
create policy router_insert on public.visitor_allowances for insert to neurant_router with check (true);
create policy router_update on public.visitor_allowances for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_allowances for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_allowances to neurant_router;
grant update (used_until) on public.visitor_allowances to neurant_router;

create unlogged table public.visitor_proofs (
  proof_digest bytea not null primary key check (octet_length(proof_digest) = 32),
  expires_at timestamptz not null
);
comment on table public.visitor_proofs is
  'Proofs of work that opened a session, stored until their challenge expires, so that none is used twice.';

alter table public.visitor_proofs enable row level security, force row level security;
create policy router_select on public.visitor_proofs for select to neurant_router using (true);
create policy router_insert on public.visitor_proofs for insert to neurant_router with check (true);
create policy router_delete on public.visitor_proofs for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_proofs to neurant_router;

create unlogged table public.visitor_processes (
  id uuid not null primary key,
  alive_until timestamptz not null
);
comment on table public.visitor_processes is
  'Web processes that hold streams of visitors. The streams of a process that does not renew alive_until are no longer counted.';

alter table public.visitor_processes enable row level security, force row level security;
create policy router_select on public.visitor_processes for select to neurant_router using (true);
create policy router_insert on public.visitor_processes for insert to neurant_router with check (true);
create policy router_update on public.visitor_processes for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_processes for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_processes to neurant_router;
grant update (alive_until) on public.visitor_processes to neurant_router;

create unlogged table public.visitor_streams (
  key_digest bytea not null check (octet_length(key_digest) = 32),
  process_id uuid not null,
  open_streams integer not null check (open_streams > 0),
  primary key (key_digest, process_id)
);
comment on table public.visitor_streams is
  'The number of streams that a web process holds open for an address, network, session, bot or company (key_digest as in visitor_allowances).';
create index visitor_streams_process_idx on public.visitor_streams (process_id);

alter table public.visitor_streams enable row level security, force row level security;
create policy router_select on public.visitor_streams for select to neurant_router using (true);
create policy router_insert on public.visitor_streams for insert to neurant_router with check (true);
create policy router_update on public.visitor_streams for update to neurant_router using (true) with check (true);
create policy router_delete on public.visitor_streams for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_streams to neurant_router;
grant update (open_streams) on public.visitor_streams to neurant_router;

create function private.visitor_limits(p_action text)
returns table (dimension text, place integer, most double precision, refill double precision, calm double precision)
language sql immutable set search_path = '' as $$
  select l.dimension, l.place, l.most, l.refill, l.calm
  from (values
    ('open', 'address', 1, 400, 0.2, 220),
    ('open', 'network', 2, 1500, 1, 700),
    ('open', 'bot', 4, 6000, 5, 2500),
    ('open', 'company', 5, 10000, 10, 4000),
    ('message', 'address', 1, 400, 5, null),
    ('message', 'network', 2, 1500, 20, null),
    ('message', 'session', 3, 30, 0.15, null),
    ('message', 'bot', 4, 3000, 50, null),
    ('message', 'company', 5, 6000, 100, null),
    ('listen', 'address', 1, 1000, 10, null),
    ('listen', 'network', 2, 4000, 40, null),
    ('listen', 'session', 3, 60, 1, null),
    ('listen', 'bot', 4, 10000, 100, null),
    ('listen', 'company', 5, 20000, 200, null),
    ('stream', 'address', 1, 500, null, null),
    ('stream', 'network', 2, 2000, null, null),
    ('stream', 'session', 3, 10, null, null),
    ('stream', 'bot', 4, 5000, null, null),
    ('stream', 'company', 5, 10000, null, null)
  ) l (action, dimension, place, most, refill, calm)
  where l.action = p_action
$$;
comment on function private.visitor_limits(text) is
  'Returns the limits of visitors: the maximum at once (most), the amount that is restored each second (refill), and the use above which a session requires a proof of work (calm). A message costs 1, and 1 more for every 400 characters. For the action stream, most is the number of concurrent streams. Reasons for the numbers: docs/decisions/0013.';
grant execute on function private.visitor_limits(text) to neurant_router;

create function private.visitor_keys(p_action text, p_values text[])
returns table (key bytea, dimension text, place integer, most double precision, refill double precision, calm double precision)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_action, l.dimension, v.value), 'UTF8')),
    l.dimension, l.place, l.most, l.refill, l.calm
  from private.visitor_limits(p_action) l
  join unnest(p_values) with ordinality v (value, place) on v.place = l.place
  where v.value is not null
$$;
comment on function private.visitor_keys(text, text[]) is
  'Returns the keys that a visitor''s action counts against. p_values: address, network, session, bot, company; null if unknown.';
grant execute on function private.visitor_keys(text, text[]) to neurant_router;

create function private.take_visitor_allowance(
  p_action text, p_cost double precision, p_values text[], p_is_proven boolean,
  out outcome text, out held_by text, out wait_seconds double precision, out held_for double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz;
begin
  outcome := 'taken';
  wait_seconds := 0;
  held_for := 0;
  -- Every process locks in the order of the keys, so no two processes wait for each other.
  perform from public.visitor_allowances a
  where a.key_digest in (select k.key from private.visitor_keys(p_action, p_values) k)
  order by a.key_digest for update;
  v_now := clock_timestamp();
  select case when u.used + p_cost > u.most then 'wait' else 'proof' end, u.dimension,
    (u.used + p_cost - case when u.used + p_cost > u.most then u.most else u.calm end) / u.refill,
    greatest((u.used + 1 - case when u.used + p_cost > u.most then u.most else u.calm end) / u.refill, 0)
  into outcome, held_by, wait_seconds, held_for
  from (
    select k.dimension, k.most, k.refill, k.calm,
      coalesce(greatest(extract(epoch from a.used_until - v_now), 0), 0) * k.refill as used
    from private.visitor_keys(p_action, p_values) k
    left join public.visitor_allowances a on a.key_digest = k.key) u
  where u.used + p_cost > u.most or (not p_is_proven and u.used + p_cost > u.calm)
  order by u.used + p_cost > u.most desc, 3 desc
  limit 1;
  if found then
    return;
  end if;
  outcome := 'taken';
  wait_seconds := 0;
  held_for := 0;
  insert into public.visitor_allowances as a (key_digest, used_until)
  select k.key, v_now + p_cost / k.refill * interval '1 second'
  from private.visitor_keys(p_action, p_values) k
  order by k.key
  on conflict (key_digest) do update
  set used_until = greatest(a.used_until, v_now) + (excluded.used_until - v_now);
end $$;
comment on function private.take_visitor_allowance(text, double precision, text[], boolean) is
  'Takes p_cost from every allowance of the action, or from none. outcome: taken, wait (possible after wait_seconds) or proof (only a visitor with p_is_proven may continue). held_by: the dimension that refused; held_for: seconds until it has room for a cost of 1.';
grant execute on function private.take_visitor_allowance(text, double precision, text[], boolean)
  to neurant_router;

create function private.open_visitor_stream(p_process uuid, p_routing_id text, p_token_digest bytea,
  p_address text, p_network text)
returns table (outcome text, held_by text, wait_seconds double precision, held_for double precision, company_id uuid, keys bytea[])
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_admitted record;
  v_values text[];
  v_key record;
  v_full text;
begin
  select * into v_admitted from private.admit_visitor('listen', p_routing_id, p_token_digest, 1,
    p_address, p_network);
  if v_admitted.outcome <> 'taken' then
    return query select v_admitted.outcome, v_admitted.held_by, v_admitted.wait_seconds,
      v_admitted.held_for, null::uuid, null::bytea[];
    return;
  end if;
  insert into public.visitor_processes as p (id, alive_until)
  values (p_process, clock_timestamp() + interval '60 seconds')
  on conflict (id) do update set alive_until = excluded.alive_until
  where p.alive_until < excluded.alive_until - interval '10 seconds';
  select array[p_address, p_network, v.id::text, v.channel_account_id::text, v.company_id::text]
  into v_values
  from public.visitor_sessions v
  where v.token_digest = p_token_digest;
  for v_key in select k.* from private.visitor_keys('stream', v_values) k order by k.key loop
    perform pg_advisory_xact_lock(hashtextextended(encode(v_key.key, 'hex'), 0));
  end loop;
  select k.dimension into v_full
  from private.visitor_keys('stream', v_values) k
  where k.most <= (
    select coalesce(sum(s.open_streams), 0)
    from public.visitor_streams s
    join public.visitor_processes p on p.id = s.process_id and p.alive_until > clock_timestamp()
    where s.key_digest = k.key)
  order by k.place
  limit 1;
  if v_full is not null then
    return query select 'wait', v_full, 30::double precision, 0::double precision, null::uuid, null::bytea[];
    return;
  end if;
  insert into public.visitor_streams as s (key_digest, process_id, open_streams)
  select k.key, p_process, 1 from private.visitor_keys('stream', v_values) k
  on conflict (key_digest, process_id) do update set open_streams = s.open_streams + 1;
  return query select 'opened', null::text, 0::double precision, 0::double precision,
    v_admitted.company_id,
    (select array_agg(k.key order by k.key) from private.visitor_keys('stream', v_values) k);
end $$;
comment on function private.open_visitor_stream(uuid, text, bytea, text, text) is
  'Counts a stream that a visitor opens. Outcome: opened (with the keys to return later), unknown or wait. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.open_visitor_stream(uuid, text, bytea, text, text) to
  neurant_app;

create function private.close_visitor_streams(p_process uuid, p_keys bytea[], p_counts integer[])
returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_closed record;
begin
  for v_closed in
    select c.key, c.streams from unnest(p_keys, p_counts) c (key, streams) order by c.key
  loop
    delete from public.visitor_streams s
    where s.key_digest = v_closed.key and s.process_id = p_process
      and s.open_streams <= v_closed.streams;
    update public.visitor_streams s set open_streams = s.open_streams - v_closed.streams
    where s.key_digest = v_closed.key and s.process_id = p_process
      and s.open_streams > v_closed.streams;
  end loop;
end $$;
comment on function private.close_visitor_streams(uuid, bytea[], integer[]) is
  'Removes ended streams of a web process from the count; p_counts holds the number for each key. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.close_visitor_streams(uuid, bytea[], integer[]) to neurant_app;

create function private.keep_visitor_process(p_process uuid, p_keys bytea[], p_counts integer[])
returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_is_known boolean;
begin
  update public.visitor_processes p set alive_until = clock_timestamp() + interval '60 seconds'
  where p.id = p_process;
  v_is_known := found;
  if not v_is_known and p_keys is not null then
    insert into public.visitor_processes (id, alive_until)
    values (p_process, clock_timestamp() + interval '60 seconds')
    on conflict do nothing;
    insert into public.visitor_streams as s (key_digest, process_id, open_streams)
    select k.key, p_process, k.streams from unnest(p_keys, p_counts) k (key, streams)
    on conflict (key_digest, process_id) do update set open_streams = excluded.open_streams;
  end if;
  return v_is_known;
end $$;
comment on function private.keep_visitor_process(uuid, bytea[], integer[]) is
  'Marks a web process as alive for a minute; returns false if the database had no row of it. With keys and counts it inserts the missing row again, with the streams that the process holds. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.keep_visitor_process(uuid, bytea[], integer[]) to neurant_app;

create function private.end_visitor_process(p_process uuid) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.visitor_streams s where s.process_id = p_process;
  delete from public.visitor_processes p where p.id = p_process;
$$;
comment on function private.end_visitor_process(uuid) is
  'Removes a web process that ends, with its streams. Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.end_visitor_process(uuid) to neurant_app;

create function private.forget_visitor_limits() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_gone integer;
  v_all integer := 0;
begin
  delete from public.visitor_allowances a
  where a.ctid = any (array(
    select b.ctid from public.visitor_allowances b where b.used_until < now() for update skip locked));
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.visitor_proofs p where p.expires_at < now();
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  -- A minute after a process was last heard of, so that a slow one finds its streams again.
  delete from public.visitor_processes p where p.alive_until < now() - interval '1 minute';
  delete from public.visitor_streams s
  where not exists (select from public.visitor_processes p where p.id = s.process_id);
  get diagnostics v_gone = row_count;
  return v_all + v_gone;
end $$;
comment on function private.forget_visitor_limits() is
  'Deletes allowances that are entirely free, expired challenges and streams of processes that died; returns the number of rows. Security definer, called by the worker process, because these rows belong to no company.';
grant execute on function private.forget_visitor_limits() to neurant_jobs;

create function private.visitor_shares(p_company uuid, p_address text, p_network text)
returns table (dimension text, answers double precision, conversations integer,
  answers_key text, conversations_key text)
language sql stable set search_path = '' as $$
  select s.dimension,
    case when c.monthly_message_limit <> -1
      then greatest(30, c.monthly_message_limit * s.of_answers) end,
    greatest(s.fewest,
      floor(coalesce(c.visitor_conversations_per_hour, p.visitor_conversations_per_hour)
        * s.of_conversations))::integer,
    concat_ws('|', 'answers', s.dimension, s.value, c.id),
    concat_ws('|', 'conversations', s.dimension, s.value, c.id)
  from public.companies c
  join public.plans p on p.plan = c.subscription_plan
  cross join (values
    ('address', p_address, 0.1, 0.25, 3),
    ('network', p_network, 0.25, 0.5, 6)
  ) s (dimension, value, of_answers, of_conversations, fewest)
  where c.id = p_company
$$;
comment on function private.visitor_shares(uuid, text, text) is
  'Returns the shares of a company that a visitor''s address and network may take: bot answers at once, restored within a day (null: the plan is unlimited), and new conversations in any hour. Reasons for the numbers: docs/decisions/0013.';
grant execute on function private.visitor_shares(uuid, text, text) to neurant_router;

create function private.visitor_answer_keys(p_company uuid, p_address text, p_network text)
returns table (key bytea, dimension text, most double precision, refill double precision)
language sql stable set search_path = '' as $$
  select sha256(convert_to(s.answers_key, 'UTF8')), s.dimension, s.answers, s.answers / 86400
  from private.visitor_shares(p_company, p_address, p_network) s
  where s.answers is not null
$$;
comment on function private.visitor_answer_keys(uuid, text, text) is
  'Returns the keys in visitor_allowances of a visitor''s shares of bot answers, with the maximum at once and the amount restored each second.';
grant execute on function private.visitor_answer_keys(uuid, text, text) to neurant_router;

create function private.visitor_answer_wait(p_company uuid, p_address text, p_network text,
  p_now timestamptz, out held_by text, out wait_seconds double precision)
language sql stable set search_path = '' as $$
  select u.dimension, (u.used + 1 - u.most) / u.refill
  from (
    select k.dimension, k.most, k.refill,
      coalesce(greatest(extract(epoch from a.used_until - p_now), 0), 0) * k.refill as used
    from private.visitor_answer_keys(p_company, p_address, p_network) k
    left join public.visitor_allowances a on a.key_digest = k.key) u
  where u.used + 1 > u.most
  order by 2 desc
  limit 1
$$;
comment on function private.visitor_answer_wait(uuid, text, text, timestamptz) is
  'Returns the share of bot answers that is used up and the seconds until it has room for one more; null if there is room.';
grant execute on function private.visitor_answer_wait(uuid, text, text, timestamptz) to
  neurant_router;

create function private.take_visitor_answer(p_company uuid, p_address text, p_network text,
  p_now timestamptz) returns void
language sql volatile set search_path = '' as $$
  insert into public.visitor_allowances as a (key_digest, used_until)
  select k.key, p_now + interval '1 second' / k.refill
  from private.visitor_answer_keys(p_company, p_address, p_network) k
  order by k.key
  on conflict (key_digest) do update
  set used_until = greatest(a.used_until, p_now) + (excluded.used_until - p_now)
$$;
comment on function private.take_visitor_answer(uuid, text, text, timestamptz) is
  'Counts one bot answer for the shares of a visitor''s address and network.';
grant execute on function private.take_visitor_answer(uuid, text, text, timestamptz) to
  neurant_router;

-- 43_visitors.sql --------------------------------------------------------------------------------
-- Visitors of the web chat.

create table public.visitor_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  conversation_at timestamptz,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id)
);
comment on table public.visitor_sessions is
  'A visitor of a web chat. Only the digest of the token is stored; the id is the end_user_id.';
comment on column public.visitor_sessions.conversation_at is
  'When this visitor''s newest conversation was counted for the company''s number an hour.';
create index visitor_sessions_account_idx on public.visitor_sessions (company_id, channel_account_id);
-- Finds the visitors' conversations that count for a company's hour.
create index visitor_sessions_conversation_idx on public.visitor_sessions (company_id, conversation_at) where conversation_at is not null;

alter table public.visitor_sessions enable row level security, force row level security;
create policy router_select on public.visitor_sessions for select to neurant_router using (true);
create policy router_insert on public.visitor_sessions for insert to neurant_router with check (true);
create policy router_update on public.visitor_sessions for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.visitor_sessions for delete to neurant_router using (true);
grant select, insert, delete on public.visitor_sessions to neurant_router;
grant update (conversation_at) on public.visitor_sessions to neurant_router;

create function private.open_visitor_session(
  p_routing_id text, p_token_digest bytea, p_lifetime interval)
returns timestamptz
language sql volatile security definer set search_path = '' as $$
  insert into public.visitor_sessions (company_id, channel_account_id, token_digest, expires_at)
  select a.company_id, a.id, p_token_digest, now() + p_lifetime
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
  returning expires_at
$$;
comment on function private.open_visitor_session(text, bytea, interval) is
  'Creates a visitor of a web chat; returns null for an unknown or closed chat. Security definer, called by the web process, because the visitor is not a principal yet.';
grant execute on function private.open_visitor_session(text, bytea, interval) to neurant_app;

create function private.open_visitor(p_routing_id text, p_token_digest bytea, p_lifetime interval,
  p_address text, p_network text, p_proof bytea, p_proof_until timestamptz)
returns table (outcome text, expires_at timestamptz, held_by text, wait_seconds double precision, held_for double precision)
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_account record;
  v_taken record;
begin
  select a.company_id, a.id into v_account
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected';
  if p_proof is not null then
    insert into public.visitor_proofs (proof_digest, expires_at) values (p_proof, p_proof_until)
    on conflict do nothing;
    if not found then
      return query select 'proof_used', null::timestamptz, null::text, 0::double precision, 0::double precision;
      return;
    end if;
  end if;
  v_taken := private.take_visitor_allowance('open', 1,
    array[p_address, p_network, null, v_account.id::text, v_account.company_id::text],
    p_proof is not null);
  if v_taken.outcome <> 'taken' then
    -- A proof that opened nothing may be used when there is room.
    delete from public.visitor_proofs p where p.proof_digest = p_proof;
    return query select v_taken.outcome, null::timestamptz, v_taken.held_by, v_taken.wait_seconds,
      v_taken.held_for;
    return;
  end if;
  if v_account.id is null then
    return query select 'unknown', null::timestamptz, null::text, 0::double precision, 0::double precision;
    return;
  end if;
  return query
  insert into public.visitor_sessions as v (company_id, channel_account_id, token_digest, expires_at)
  values (v_account.company_id, v_account.id, p_token_digest, now() + p_lifetime)
  returning 'opened', v.expires_at, null::text, 0::double precision, 0::double precision;
end $$;
comment on function private.open_visitor(text, bytea, interval, text, text, bytea, timestamptz) is
  'Opens a session of a web chat within the limits of visitors. Outcome: opened, unknown (no such chat, or a closed one), wait, proof (a proof of work is required) or proof_used. p_proof: digest of a challenge whose solution the process verified. Security definer, called by the web process, because the visitor is not a principal yet.';
grant execute on function private.open_visitor(text, bytea, interval, text, text, bytea,
  timestamptz) to neurant_app;

create function private.begin_visitor_conversation(p_company uuid, p_session uuid, p_now timestamptz)
returns double precision
language plpgsql volatile set search_path = '' as $$
declare
  v_most integer;
  v_oldest timestamptz;
begin
  -- One after another within a company, so that the number is exact over all processes.
  perform pg_advisory_xact_lock(hashtextextended('visitor conversations ' || p_company, 0));
  select coalesce(c.visitor_conversations_per_hour, p.visitor_conversations_per_hour) into v_most
  from public.companies c
  join public.plans p on p.plan = c.subscription_plan
  where c.id = p_company;
  select v.conversation_at into v_oldest
  from public.visitor_sessions v
  where v.company_id = p_company and v.conversation_at > p_now - interval '1 hour'
  order by v.conversation_at desc
  offset v_most - 1 limit 1;
  if v_oldest is null then
    update public.visitor_sessions v set conversation_at = p_now
    where v.company_id = p_company and v.id = p_session;
    return 0;
  end if;
  -- Owner and administradores hear of it once an hour at most.
  insert into public.visitor_allowances as a (key_digest, used_until)
  values (sha256(convert_to('told|company|' || p_company, 'UTF8')), p_now + interval '1 hour')
  on conflict (key_digest) do update set used_until = excluded.used_until
  where a.used_until <= p_now;
  if found then
    perform private.notify_users(p_company, '{owner,administrador}', 'visitors_full',
      jsonb_build_object('number', v_most));
  end if;
  return extract(epoch from v_oldest + interval '1 hour' - p_now);
end $$;
comment on function private.begin_visitor_conversation(uuid, uuid, timestamptz) is
  'Counts a new conversation of a visitor for the company''s number an hour. Returns 0, or the seconds until there is room. Each session is counted at most once an hour.';
grant execute on function private.begin_visitor_conversation(uuid, uuid, timestamptz) to
  neurant_router;

create function private.admit_visitor(p_action text, p_routing_id text, p_token_digest bytea,
  p_cost double precision, p_address text, p_network text)
returns table (outcome text, held_by text, wait_seconds double precision, held_for double precision, company_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_session record;
  v_taken record;
  v_message record;
begin
  select v.company_id, v.id, v.channel_account_id into v_session
  from public.visitor_sessions v
  join public.channel_accounts a on a.company_id = v.company_id and a.id = v.channel_account_id
    and a.routing_id = p_routing_id and a.status = 'connected'
  join public.companies c on c.id = v.company_id and c.subscription_status <> 'cancelled'
  where v.token_digest = p_token_digest and v.expires_at > now();
  v_taken := private.take_visitor_allowance(case p_action when 'opinion' then 'message' else p_action end,
    p_cost, array[p_address, p_network, v_session.id::text, v_session.channel_account_id::text,
      v_session.company_id::text], true);
  if v_taken.outcome = 'taken' and v_session.id is null then
    v_taken.outcome := 'unknown';
  end if;
  if v_taken.outcome = 'taken' and p_action = 'message' then
    v_message := private.admit_visitor_message(v_session.company_id, v_session.channel_account_id,
      v_session.id, p_address, p_network);
    if v_message.outcome <> 'taken' then
      v_taken.outcome := v_message.outcome;
      v_taken.held_by := v_message.held_by;
      v_taken.wait_seconds := v_message.wait_seconds;
    end if;
  end if;
  return query select v_taken.outcome, v_taken.held_by, v_taken.wait_seconds, v_taken.held_for,
    v_session.company_id;
end $$;
comment on function private.admit_visitor(text, text, bytea, double precision, text, text) is
  'Counts an action of a visitor (message, opinion or listen) against the limits of visitors. Outcome: taken, unknown (no such session; the address was counted), wait, or, for a message, share or full (see private.admit_visitor_message). Security definer, called by the web process, because visitors may not read or write the limits.';
grant execute on function private.admit_visitor(text, text, bytea, double precision, text, text)
  to neurant_app;

create function private.visitor_conversation_share(p_company uuid, p_address text, p_network text,
  p_now timestamptz, out slots bytea[], out held_by text, out wait_seconds double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_share record;
  v_slot bytea;
begin
  -- A share of n conversations an hour has n slots. A conversation occupies one for an hour.
  for v_share in
    select s.dimension, s.conversations, s.conversations_key
    from private.visitor_shares(p_company, p_address, p_network) s
    order by s.dimension
  loop
    -- A row for each slot by the primary key; the search ends at the first free slot.
    select k.key into v_slot
    from (
      select sha256(convert_to(v_share.conversations_key || '|' || n, 'UTF8')) as key
      from generate_series(1, v_share.conversations) n) k
    where not exists (
      select from public.visitor_allowances a where a.key_digest = k.key and a.used_until > p_now)
    limit 1;
    if not found then
      held_by := v_share.dimension;
      select extract(epoch from min(a.used_until) - p_now) into wait_seconds
      from generate_series(1, v_share.conversations) n
      join public.visitor_allowances a
        on a.key_digest = sha256(convert_to(v_share.conversations_key || '|' || n, 'UTF8'));
      return;
    end if;
    slots := slots || v_slot;
  end loop;
end $$;
comment on function private.visitor_conversation_share(uuid, text, text, timestamptz) is
  'Returns a free slot in each share of new conversations of a visitor''s address and network, or the share that has none (held_by) and the seconds until it has one.';
grant execute on function private.visitor_conversation_share(uuid, text, text, timestamptz) to
  neurant_router;

-- The caller holds the lock on the company's message allowance, so that its visitors are counted
-- one after another.
create function private.admit_visitor_message(p_company uuid, p_account uuid, p_session uuid,
  p_address text, p_network text,
  out outcome text, out held_by text, out wait_seconds double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_with_person boolean;
  v_share record;
begin
  select c.is_hitl_active into v_with_person
  from public.conversations c
  where c.company_id = p_company and c.channel_account_id = p_account
    and c.end_user_id = p_session::text and c.status = 'active';
  -- A person's answers cost nothing of the month.
  if v_with_person then
    outcome := 'taken';
    return;
  end if;
  select w.held_by, w.wait_seconds into held_by, wait_seconds
  from private.visitor_answer_wait(p_company, p_address, p_network, v_now) w;
  if held_by is not null then
    outcome := 'share';
    return;
  end if;
  -- Read here, behind the lock: another message of this session may have begun a conversation.
  if v_with_person is null and not exists (
    select from public.visitor_sessions v
    where v.company_id = p_company and v.id = p_session
      and v.conversation_at > v_now - interval '1 hour')
  then
    v_share := private.visitor_conversation_share(p_company, p_address, p_network, v_now);
    if v_share.held_by is not null then
      outcome := 'share';
      held_by := v_share.held_by;
      wait_seconds := v_share.wait_seconds;
      return;
    end if;
    wait_seconds := private.begin_visitor_conversation(p_company, p_session, v_now);
    if wait_seconds > 0 then
      outcome := 'full';
      return;
    end if;
    insert into public.visitor_allowances as a (key_digest, used_until)
    select s.key, v_now + interval '1 hour' from unnest(v_share.slots) s (key) order by s.key
    on conflict (key_digest) do update set used_until = excluded.used_until;
  end if;
  perform private.take_visitor_answer(p_company, p_address, p_network, v_now);
  outcome := 'taken';
end $$;
comment on function private.admit_visitor_message(uuid, uuid, uuid, text, text) is
  'Counts a visitor''s message against the shares and the number of the company. Outcome: taken, share (the address or network, held_by, used up its share of the bot answers or of the new conversations) or full (the company takes no more new conversations in this hour). A refused message takes nothing.';
grant execute on function private.admit_visitor_message(uuid, uuid, uuid, text, text)
  to neurant_router;

-- 44_conversations.sql ---------------------------------------------------------------------------
-- Conversations, and the contacts who write in them.

create table public.contacts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  chatbot_id uuid not null,
  end_user_id varchar(255) not null,
  channel public.conversation_channel_enum not null,
  name varchar(255),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  erased_at timestamptz,
  primary key (company_id, id),
  unique (company_id, channel_account_id, end_user_id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (last_seen_at >= first_seen_at),
  check (erased_at is null or name is null)
);
comment on table public.contacts is
  'One row for each person on a channel, maintained from conversations when one begins and when it ends, never by a message.';
create index contacts_chatbot_idx on public.contacts (company_id, chatbot_id, last_seen_at desc);
-- The company's contacts, by when they were last active.
create index contacts_newest_idx on public.contacts (company_id, last_seen_at desc);

alter table public.contacts enable row level security, force row level security;
create policy staff_select on public.contacts for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or id = any ((select private.my_contact_ids())::uuid[])));
create policy router_select on public.contacts for select to neurant_router using (true);
create policy router_insert on public.contacts for insert to neurant_router with check (true);
create policy router_update on public.contacts for update to neurant_router using (true) with check (true);
grant select on public.contacts to authenticated;
grant select, insert, update on public.contacts to neurant_router;

create table public.conversations (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  channel_account_id uuid not null,
  end_user_id varchar(255) not null,
  end_user_name varchar(255),
  end_user_avatar text,
  channel public.conversation_channel_enum not null,
  status public.conversation_status_enum not null default 'active',
  is_hitl_active boolean not null default false,
  assigned_operator_id uuid,
  hitl_activated_at timestamptz,
  hitl_reason text,
  message_count integer not null default 0,
  bot_message_count integer not null default 0,
  human_message_count integer not null default 0,
  avg_response_time_ms integer default 0,
  started_at timestamptz not null default now(),
  last_message_at timestamptz not null default now(),
  last_message_slot timestamptz,
  ended_at timestamptz,
  session_duration_minutes integer,
  satisfaction_rating integer check (satisfaction_rating between 1 and 5),
  satisfaction_comment text,
  context_data jsonb default '{}',
  conversation_summary text,
  last_seq bigint not null default 0,
  fence bigint not null default 0,
  response_time_total_ms bigint not null default 0,
  response_time_count integer not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, assigned_operator_id) references public.users (company_id, id),
  check ((status = 'active') = (ended_at is null)),
  -- Nobody attends a finished conversation.
  constraint conversations_finished_check
    check (status = 'active' or not is_hitl_active),
  constraint conversations_context_check check (jsonb_typeof(context_data) = 'object'),
  constraint conversations_end_check check (ended_at >= started_at),
  constraint conversations_counts_check check (
    message_count >= 0 and bot_message_count >= 0 and human_message_count >= 0)
) with (fillfactor = 70);
comment on column public.conversations.avg_response_time_ms is
  'Average processing_time_ms of the bot''s messages, exact at commit.';
comment on column public.conversations.last_message_at is
  'created_at of the newest message, or started_at; an imported message moves it forwards only.';
comment on column public.conversations.last_message_slot is
  'last_message_at, rounded down to ten minutes. The inbox''s index holds this column, so that most messages change no index of conversations: order by last_message_slot desc, last_message_at desc.';
comment on column public.conversations.session_duration_minutes is
  'From the beginning to the last message, in whole minutes; written when the conversation ends.';
comment on column public.conversations.context_data is
  'What the conversation established, by name: the customer''s name, the branch, a preference, and facts of an import. A reply adds to it (private.finish_reply); the next reply and the operator read it.';
comment on column public.conversations.last_seq is
  'Sequence number of the newest message. Order and resumption depend on it, never on a clock.';
comment on column public.conversations.fence is
  'Fencing token: it rises whenever a person takes or leaves the conversation. A bot message that was begun under an older number is not sent.';
comment on column public.conversations.response_time_total_ms is
  'Sum of processing_time_ms of the bot''s messages, from which avg_response_time_ms is computed exactly.';
comment on column public.conversations.response_time_count is
  'The number of the bot''s messages that have a processing_time_ms.';
-- A conversation may follow a resolved one, so the key is unique among open conversations only.
create unique index conversations_open_key
  on public.conversations (company_id, channel_account_id, end_user_id) where status = 'active';
-- An end user's conversations, newest first: for the visitor, and for the customer's history in the
-- inbox.
create index conversations_end_user_idx
  on public.conversations (company_id, channel_account_id, end_user_id, started_at desc);
-- The inbox, newest first, by an index that most messages do not change.
create index conversations_inbox_idx
  on public.conversations (company_id, last_message_slot desc);
create index conversations_hitl_idx
  on public.conversations (company_id, hitl_activated_at) where is_hitl_active;
-- A bot's conversations, by an index that no message changes.
create index conversations_chatbot_idx
  on public.conversations (company_id, chatbot_id);
create index conversations_operator_idx
  on public.conversations (company_id, assigned_operator_id) where assigned_operator_id is not null;
-- The conversations that began on a day.
create index conversations_started_idx on public.conversations (company_id, started_at);
-- The conversations that ended on a day.
create index conversations_ended_idx on public.conversations (company_id, ended_at)
  where ended_at is not null;

alter table public.conversations enable row level security, force row level security;
create policy staff_select on public.conversations for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
create policy visitor_select on public.conversations for select to visitor
  using (company_id = (select private.company_id())
    and id = (select private.visitor_conversation_id()));
create policy worker_select on public.conversations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.conversations for select to neurant_router using (true);
create policy router_insert on public.conversations for insert to neurant_router with check (true);
create policy router_update on public.conversations for update to neurant_router using (true) with check (true);
-- Archiving deletes rows from the live tables; restoring inserts them again.
create policy router_delete on public.conversations for delete to neurant_router using (true);
grant select on public.conversations to authenticated, neurant_worker;
grant select (company_id, id, status, is_hitl_active, assigned_operator_id, last_seq, fence) on
  public.conversations to visitor;
grant select, insert, update, delete on public.conversations to neurant_router;

create trigger set_updated_at before update on public.conversations
  for each row when (new.updated_at = old.updated_at)
  execute function private.update_updated_at_column();

create function private.finish_conversation() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not (old.status = 'active' and new.status in ('resolved', 'abandoned')
    or old.status in ('resolved', 'abandoned') and new.status = 'archived') then
    raise exception 'a conversation that is % cannot become %', old.status, new.status
      using errcode = 'check_violation', constraint = 'conversations_status_order';
  end if;
  if old.status = 'active' then
    new.ended_at := coalesce(new.ended_at, now());
    -- How long people talked; the silence that ended it is no part of it.
    new.session_duration_minutes := greatest(
      0, floor(extract(epoch from new.last_message_at - new.started_at) / 60));
  end if;
  return new;
end $$;
comment on function private.finish_conversation() is
  'Enforces the order active, then resolved or abandoned, then archived: a finished conversation is never opened again, and the next message opens a new one.';

create trigger finish_conversation before update of status on public.conversations
  for each row when (old.status <> new.status) execute function private.finish_conversation();

create function private.close_idle_conversations(
  p_now timestamptz default now(), p_limit integer default 500)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_closed integer;
begin
  with idle as (
    select c.company_id, c.id
    from public.conversations c
    where c.status = 'active' and not c.is_hitl_active
      -- WhatsApp lets a business answer freely for 24 hours; after that it is another conversation.
      and c.last_message_at <= p_now - interval '24 hours'
      and not private.has_open_work(c.company_id, c.id)
    order by c.last_message_at
    limit p_limit
    for update skip locked
  )
  update public.conversations c
  set ended_at = p_now,
    status = case (
      select m.sender_type from public.messages m
      where m.company_id = c.company_id and m.conversation_id = c.id
      order by m.seq desc limit 1)
      when 'bot' then 'resolved'::public.conversation_status_enum
      when 'human' then 'resolved'
      when 'system' then 'resolved'
      else 'abandoned' end
  from idle
  where c.company_id = idle.company_id and c.id = idle.id;
  get diagnostics v_closed = row_count;
  return v_closed;
end $$;
comment on function private.close_idle_conversations(timestamptz, integer) is
  'Ends up to p_limit conversations without messages for 24 hours and without open work, over all companies, the longest silent first; returns the number. A conversation becomes resolved if the last message was ours, abandoned if it was the end user''s. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.close_idle_conversations(timestamptz, integer) to neurant_jobs;

create function private.keep_contact() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.contacts as k (company_id, channel_account_id, chatbot_id, end_user_id,
    channel, name, first_seen_at, last_seen_at)
  values (new.company_id, new.channel_account_id, new.chatbot_id, new.end_user_id, new.channel,
    new.end_user_name, least(new.started_at, new.last_message_at),
    greatest(new.started_at, new.last_message_at))
  on conflict (company_id, channel_account_id, end_user_id) do update
  set first_seen_at = least(k.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(k.last_seen_at, excluded.last_seen_at),
    name = case
      when k.erased_at is not null then null
      when excluded.last_seen_at >= k.last_seen_at then coalesce(excluded.name, k.name)
      else coalesce(k.name, excluded.name) end;
  return null;
end $$;
comment on function private.keep_contact() is
  'Maintains contacts from conversations. Security definer, called by a trigger, because no role may write contacts directly.';

-- For each row, because ingest's upsert then fires it only for new conversations, not for every
-- batch.
create trigger keep_contact after insert on public.conversations
  for each row execute function private.keep_contact();

create trigger keep_contact_at_end after update of status on public.conversations
  for each row when (old.status = 'active' and new.status <> 'active')
  execute function private.keep_contact();

create function private.close_conversation(p_conversation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_user uuid := private.user_id();
  v_status public.conversation_status_enum;
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  select c.status into v_status from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  if v_status is distinct from 'active' then
    return 'closed_before';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.operator_id is distinct from v_user and v_session.operator_id is not null
    and not private.sees_all_chatbots() then
    return 'taken_by_other';
  end if;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = v_company and t.conversation_id = p_conversation and t.status = 'pending';
  update public.hitl_sessions s set status = 'resolved', ended_at = now(), ended_by = v_user
  where s.company_id = v_company and s.id = v_session.id;
  -- A reply that is being written finds its request gone. What was said is delivered all the same.
  delete from public.reply_requests r
  where r.company_id = v_company and r.conversation_id = p_conversation;
  update public.conversations c set status = 'resolved'
  where c.company_id = v_company and c.id = p_conversation;
  return 'closed';
end $$;
comment on function private.close_conversation(uuid) is
  'Ends a conversation and its takeover; the customer''s next message begins another one. Outcome: closed, closed_before, taken_by_other or not_found. Security definer, called by staff and API keys, because no role may write a conversation''s status directly.';
grant execute on function private.close_conversation(uuid) to authenticated;

create function private.rate_conversation(p_rating integer, p_comment text) returns uuid
language sql security definer set search_path = '' as $$
  update public.conversations c set satisfaction_rating = p_rating, satisfaction_comment = p_comment
  where c.company_id = (select private.company_id())
    and c.id = (select private.visitor_conversation_id())
  returning c.id
$$;
comment on function private.rate_conversation(integer, text) is
  'Stores a visitor''s rating of the conversation, 1 to 5; the last one counts. Returns null if there is no conversation. Security definer, called by visitors, because visitors may not write conversations.';
grant execute on function private.rate_conversation(integer, text) to visitor;

create function private.assign_conversation(p_conversation uuid, p_to uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.assign');
  v_user uuid := private.user_id();
  v_conversation public.conversations;
  v_session public.hitl_sessions;
  v_role public.user_role_enum;
begin
  if v_user is null or not private.sees_all_chatbots() then
    return 'not_found';
  end if;
  select c.* into v_conversation from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  if v_conversation.id is null then
    return 'not_found';
  end if;
  if v_conversation.status <> 'active' then
    return 'closed';
  end if;
  -- Locked: somebody who is deactivated at this moment is given nothing more.
  select u.role into v_role from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active for share;
  if v_role is null or v_role = 'operador' and not exists (
    select from public.chatbot_operators o
    where o.company_id = v_company and o.chatbot_id = v_conversation.chatbot_id
      and o.operator_id = p_to and o.is_active) then
    return 'invalid_target';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.operator_id = p_to then
    return 'same';
  end if;
  if v_session.id is null then
    insert into public.hitl_sessions
      (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)
    values (v_company, p_conversation, v_conversation.chatbot_id, 'active', 'manual', p_to, now());
  else
    update public.hitl_sessions s
    set status = 'active', operator_id = p_to, taken_at = coalesce(s.taken_at, now())
    where s.company_id = v_company and s.id = v_session.id;
    update public.hitl_transfers t set status = 'cancelled', decided_at = now()
    where t.company_id = v_company and t.session_id = v_session.id and t.status = 'pending';
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, p_to, 'conversation_assigned',
    jsonb_build_object('conversation_id', p_conversation));
  return 'assigned';
end $$;
comment on function private.assign_conversation(uuid, uuid) is
  'A supervisor or above gives an open conversation to an active colleague who may serve its bot, whoever has it now; pending transfer requests end. Outcome: assigned, same (already that colleague''s), invalid_target, closed or not_found; error NA002 if the plan allows no more takeovers. Security definer, called by staff and API keys, because no role may write hitl_sessions directly.';
grant execute on function private.assign_conversation(uuid, uuid) to authenticated;

create function private.operator_name(p_user uuid) returns text
language sql stable security definer set search_path = '' as $$
  select u.first_name from public.users u
  where u.company_id = (select private.company_id('conversations.read')) and u.id = p_user
$$;
comment on function private.operator_name(uuid) is
  'Returns the first name of a colleague who writes in a conversation, which is all that a visitor or an operador may see. Security definer, called by staff and API keys, visitors and the worker for one company, because neither may read users.';
grant execute on function private.operator_name(uuid) to authenticated, visitor, neurant_worker;

create function private.set_last_message_slot() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.last_message_slot := date_bin('10 minutes', new.last_message_at, 'epoch');
  return new;
end $$;

create trigger set_last_message_slot before insert or update of last_message_at
  on public.conversations
  for each row when (
    new.last_message_slot is distinct from date_bin('10 minutes', new.last_message_at, 'epoch'))
  execute function private.set_last_message_slot();

-- 45_messages.sql --------------------------------------------------------------------------------
-- Messages: their order, their counters and their delivery.

create table public.messages (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  channel_account_id uuid not null,
  seq bigint not null,
  content text not null check (char_length(content) <= 20000),
  message_type public.message_type_enum not null default 'text',
  media_url text,
  media_type varchar(50),
  sender_type public.sender_type_enum not null,
  sender_id uuid,
  n8n_message_id varchar(255),
  n8n_workflow_id varchar(255),
  external_message_id varchar(255),
  processing_time_ms integer check (processing_time_ms >= 0),
  tokens_used integer check (tokens_used >= 0),
  model_used varchar(100),
  status public.message_status_enum not null default 'sent',
  delivered_at timestamptz,
  read_at timestamptz,
  used_knowledge_base boolean default false,
  knowledge_sources jsonb default '[]',
  confidence_score decimal(3, 2) check (confidence_score between 0 and 1),
  explanation jsonb,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, conversation_id, seq),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, sender_id) references public.users (company_id, id),
  check (content <> '' or message_type <> 'text'),
  check (sender_type in ('human', 'system') or sender_id is null),
  -- A message of an end user counts as delivered when it is stored, at created_at.
  constraint messages_delivery_check check (
    (read_at is not null) = (status = 'read')
    and (delivered_at is null or status in ('delivered', 'read'))
    and (delivered_at is not null or status not in ('delivered', 'read')
    or sender_type = 'end_user' and status = 'delivered')
    and (read_at >= delivered_at) is not false),
  constraint messages_seq_check check (seq > 0),
  constraint messages_sources_check check (jsonb_typeof(knowledge_sources) = 'array'),
  constraint messages_explanation_check check (explanation is null
    or sender_type = 'bot' and jsonb_typeof(explanation) = 'object'
    and char_length(explanation::text) <= 8000)
);
comment on column public.messages.model_used is
  'What produced the text of the bot: extractive (a quote of documents), phrase (one of its fixed phrases), or the name of a language model.';
comment on column public.messages.tokens_used is
  'Tokens of a language model that the answer used; null: no language model produced it.';
comment on column public.messages.used_knowledge_base is
  'Whether the text comes from documents. It stays true when the sources are erased.';
comment on column public.messages.confidence_score is
  'The probability that the best passage answers the question: also where it was too low to answer.';
comment on column public.messages.explanation is
  'Why the bot said this: the kind of turn, repaired words, passages with scores, confidence, threshold, decision and reason. Only the staff reads it.';
comment on column public.messages.chatbot_id is
  'The bot of the conversation, kept equal by the foreign key, so that the policy for operadores needs no join.';
comment on column public.messages.content is
  'The text. For sender system: a key of the message catalogue, shown in the reader''s language.';
-- The channel's own id identifies a redelivered webhook as a duplicate.
create unique index messages_external_key
  on public.messages (company_id, channel_account_id, external_message_id)
  where external_message_id is not null;
create index messages_newest_idx on public.messages (company_id, created_at desc, id desc);
create index messages_sender_idx on public.messages (company_id, sender_id) where sender_id is not null;

alter table public.messages enable row level security, force row level security;
create policy staff_select on public.messages for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.messages for insert to authenticated
  with check (company_id = (select private.company_id('conversations.reply'))
    and sender_type = 'human'
    and sender_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy visitor_select on public.messages for select to visitor
  using (company_id = (select private.company_id())
    and conversation_id = (select private.visitor_conversation_id()));
create policy worker_select on public.messages for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.messages for select to neurant_router using (true);
create policy router_insert on public.messages for insert to neurant_router with check (true);
create policy router_update on public.messages for update to neurant_router using (true) with check (true);
create policy router_delete on public.messages for delete to neurant_router using (true);
grant select on public.messages to authenticated, neurant_worker;
grant insert (company_id, id, conversation_id, content) on public.messages to authenticated;
grant select (company_id, id, conversation_id, seq, content, message_type, sender_type, sender_id,
  external_message_id, status, knowledge_sources, created_at) on public.messages to visitor;
grant select, insert, update, delete on public.messages to neurant_router;

create trigger set_updated_at before update on public.messages
  for each row execute function private.update_updated_at_column();

create function private.number_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.sender_type is null then  -- only a staff member's insert leaves it out
    new.sender_type := 'human';
    new.sender_id := private.user_id();
    perform private.take_for_reply(new.company_id, new.conversation_id, new.sender_id);
  end if;
  update public.conversations c
  set last_seq = c.last_seq + 1,
    message_count = c.message_count + 1,
    human_message_count = c.human_message_count + (new.sender_type = 'human')::integer,
    last_message_at = greatest(c.last_message_at, new.created_at),
    updated_at = now()
  where c.company_id = new.company_id and c.id = new.conversation_id
  returning c.last_seq, c.chatbot_id, c.channel_account_id,
    case when c.channel = 'web' then 'sent' else 'pending' end
  into new.seq, new.chatbot_id, new.channel_account_id, new.status;
  return new;
end $$;
comment on function private.number_message() is
  'Gives a message its sender, its number in the conversation and its first delivery status, and maintains the conversation''s counters. (track_message_usage numbers the bot''s messages; ingest numbers its own, a batch at a time.) Security definer, called by a trigger, because no role may write these columns directly.';

create trigger number_message before insert on public.messages
  for each row when (new.seq is null and new.sender_type is distinct from 'bot')
  execute function private.number_message();

create function private.track_message_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  -- Backends have slots of their own as far as they go, so they seldom wait for one another.
  v_slot smallint := pg_backend_pid() % 64;
begin
  -- Everybody's order of locks: the conversation, the company, its slots.
  update public.conversations c
  set last_seq = c.last_seq + 1,
    message_count = c.message_count + 1,
    bot_message_count = c.bot_message_count + 1,
    last_message_at = greatest(c.last_message_at, new.created_at),
    response_time_total_ms = c.response_time_total_ms + coalesce(new.processing_time_ms, 0),
    response_time_count = c.response_time_count + (new.processing_time_ms is not null)::integer,
    avg_response_time_ms = case
      when new.processing_time_ms is null then c.avg_response_time_ms
      else round((c.response_time_total_ms + new.processing_time_ms)::numeric
        / (c.response_time_count + 1)) end,
    updated_at = now()
  where c.company_id = new.company_id and c.id = new.conversation_id
  returning c.last_seq, c.chatbot_id, c.channel_account_id,
    case when c.channel = 'web' then 'sent' else 'pending' end
  into new.seq, new.chatbot_id, new.channel_account_id, new.status;
  begin
    update public.usage_slots s set used = s.used + 1
    where s.company_id = new.company_id and s.slot = v_slot
      and s.used < s.granted and s.granted_until > now();
    if found then
      return new;
    end if;
    -- An update that waited in vain still holds its row: rolled back, it does not.
    raise exception using errcode = 'NA000', message = 'the slot is used up';
  exception when sqlstate 'NA000' then
    null;
  end;
  perform private.draw_allowance(new.company_id, v_slot);
  return new;
end $$;
comment on function private.track_message_usage() is
  'Numbers a message of the bot, counts it in its conversation and against its company''s month, or refuses it with NA002. Only the bot''s messages are billed, each once; a message that already has its number is being restored and is not counted again. Security definer, called by a trigger, because no role may write counters directly.';

create trigger track_message_usage before insert on public.messages
  for each row when (new.seq is null and new.sender_type = 'bot')
  execute function private.track_message_usage();

create function private.recount_conversation(p_company uuid, p_conversation uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  -- First the lock, then a statement that sees what those wrote who held it before.
  perform from public.conversations c
  where c.company_id = p_company and c.id = p_conversation for no key update;
  update public.conversations c
  set message_count = m.messages, bot_message_count = m.bot, human_message_count = m.human,
    last_message_at = greatest(c.started_at, m.newest),
    response_time_total_ms = m.response_ms, response_time_count = m.responses,
    avg_response_time_ms = coalesce(round(m.response_ms::numeric / nullif(m.responses, 0)), 0)
  from (
    select count(*) as messages, max(m.created_at) as newest,
      count(*) filter (where m.sender_type = 'bot') as bot,
      count(*) filter (where m.sender_type = 'human') as human,
      count(m.processing_time_ms) filter (where m.sender_type = 'bot') as responses,
      coalesce(sum(m.processing_time_ms) filter (where m.sender_type = 'bot'), 0) as response_ms
    from public.messages m
    where m.company_id = p_company and m.conversation_id = p_conversation) m
  where c.company_id = p_company and c.id = p_conversation;
end $$;
comment on function private.recount_conversation(uuid, uuid) is
  'Recomputes a conversation''s counters from its messages. Security definer, called by other definers only, because no role may write counters directly.';

create function private.update_conversation_message_count() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'DELETE' then
    perform private.recount_conversation(d.company_id, d.conversation_id)
    from (select distinct o.company_id, o.conversation_id from old_rows o
      order by o.company_id, o.conversation_id) d;
  else
    perform private.recount_conversation(new.company_id, new.conversation_id);
    if new.conversation_id <> old.conversation_id then
      perform private.recount_conversation(old.company_id, old.conversation_id);
    end if;
  end if;
  return null;
end $$;
comment on function private.update_conversation_message_count() is
  'Maintains a conversation''s counters when messages are deleted or changed. (number_message and ingest maintain them when messages are added.) Security definer, called by a trigger, because no role may write counters directly.';

create trigger update_conversation_message_count after delete on public.messages
  referencing old table as old_rows
  for each statement execute function private.update_conversation_message_count();

create trigger recount_conversation
  after update of conversation_id, sender_type, created_at, processing_time_ms on public.messages
  for each row when (
    (old.conversation_id, old.sender_type, old.created_at, old.processing_time_ms)
    is distinct from
    (new.conversation_id, new.sender_type, new.created_at, new.processing_time_ms))
  execute function private.update_conversation_message_count();

create function private.advance_status() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.status <> old.status and not (case old.status
    when 'pending' then true
    when 'sent' then new.status in ('delivered', 'read', 'failed')
    when 'delivered' then new.status = 'read'
    when 'unknown' then new.status in ('pending', 'sent', 'delivered', 'read', 'failed')
    -- Sent again by a person; or the channel failed to say that it had arrived after all.
    when 'failed' then new.status in ('pending', 'delivered', 'read')
    else false end)
  then
    new.status := old.status;
  end if;
  -- Each moment is written once, with its state, and never before the one that it follows.
  new.delivered_at := case when new.status in ('delivered', 'read')
    then coalesce(old.delivered_at, new.delivered_at, least(now(), new.read_at)) end;
  new.read_at := case when new.status = 'read'
    then coalesce(old.read_at, greatest(coalesce(new.read_at, now()), new.delivered_at)) end;
  return new;
end $$;
comment on function private.advance_status() is
  'Moves the delivery status forwards only: an event that is late, duplicated or contradicts a better one changes nothing.';

create trigger advance_status before update of status, delivered_at, read_at on public.messages
  for each row when (
    (old.status, old.delivered_at, old.read_at)
    is distinct from (new.status, new.delivered_at, new.read_at))
  execute function private.advance_status();

create function private.send_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.outbox
    (company_id, conversation_id, message_id, channel_account_id, seq, fence)
  select c.company_id, c.id, new.id, c.channel_account_id, new.seq,
    case when new.sender_type = 'bot' then c.fence end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id and c.channel <> 'web'
    -- In a finished one nobody speaks: what is written there came back from the archive.
    and c.status = 'active';
  return null;
end $$;
comment on function private.send_message() is
  'Puts a message to an end user into the outbox, in the same transaction. (The web chat reads messages itself.) Security definer, called by a trigger, because no role may write the outbox directly.';

create trigger send_message after insert on public.messages
  for each row when (new.status = 'pending') execute function private.send_message();

create function private.resend_message(p_message uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_conversation uuid;
begin
  select m.conversation_id into v_conversation from public.messages m
  where m.company_id = v_company and m.id = p_message;
  if v_conversation is null or not private.can_work_on(v_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = v_conversation for update;
  -- Never what the channel has meanwhile said to have arrived.
  update public.outbox o
  set status = 'pending', due_at = now(), attempts = 0, fence = null, last_error = null,
    sent_at = null
  from public.messages m
  where o.company_id = v_company and o.message_id = p_message
    and o.status in ('sent', 'failed', 'unknown')
    and m.company_id = o.company_id and m.id = o.message_id and m.status in ('failed', 'unknown');
  if not found then
    return 'not_resendable';
  end if;
  update public.messages m set status = 'pending'
  where m.company_id = v_company and m.id = p_message;
  return 'resent';
end $$;
comment on function private.resend_message(uuid) is
  'Sends a message again, by the decision of a person, if it failed or its delivery is unknown. Outcome: resent, not_resendable or not_found. Security definer, called by staff and API keys, because no role may write the outbox directly.';
grant execute on function private.resend_message(uuid) to authenticated;

-- 46_handoff.sql ---------------------------------------------------------------------------------
-- Handoff: a person takes a conversation over and returns it to the bot.

create table public.hitl_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  status text not null default 'pending'
    check (status in ('pending', 'active', 'resolved', 'abandoned')),
  reason text not null,
  reason_detail text,
  operator_id uuid,
  opened_at timestamptz not null default now(),
  escalated_at timestamptz,
  taken_at timestamptz,
  first_response_at timestamptz,
  ended_at timestamptz,
  ended_by uuid,
  resolution_notes text,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, ended_by) references public.users (company_id, id),
  check ((status = 'pending') = (operator_id is null and ended_at is null)
    or status in ('resolved', 'abandoned')),
  check ((status in ('resolved', 'abandoned')) = (ended_at is not null)),
  constraint hitl_sessions_reason_check
    check (reason in ('user_request', 'keywords', 'no_answer', 'manual', 'limit_reached',
      'request', 'complaint', 'emergency'))
);
comment on column public.hitl_sessions.escalated_at is
  'When the people in charge were notified that nobody had taken the conversation within the bot''s auto_escalate_after_minutes.';
create unique index hitl_sessions_open_key
  on public.hitl_sessions (company_id, conversation_id) where ended_at is null;
create index hitl_sessions_conversation_idx
  on public.hitl_sessions (company_id, conversation_id, opened_at desc);
create index hitl_sessions_operator_idx
  on public.hitl_sessions (company_id, operator_id) where operator_id is not null;
create index hitl_sessions_ended_by_idx
  on public.hitl_sessions (company_id, ended_by) where ended_by is not null;
create index hitl_sessions_waiting_idx on public.hitl_sessions (opened_at)
  where status = 'pending' and escalated_at is null;
-- The rollup finds the days on which a takeover began and ended, and the day of a reaction, by
-- these.
create index hitl_sessions_opened_idx on public.hitl_sessions (company_id, opened_at);
create index hitl_sessions_ended_idx on public.hitl_sessions (company_id, ended_at)
  where ended_at is not null;

alter table public.hitl_sessions enable row level security, force row level security;
create policy staff_select on public.hitl_sessions for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy router_select on public.hitl_sessions for select to neurant_router using (true);
create policy router_insert on public.hitl_sessions for insert to neurant_router with check (true);
create policy router_update on public.hitl_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_sessions for delete to neurant_router using (true);
grant select on public.hitl_sessions to authenticated;
grant select, insert, update, delete on public.hitl_sessions to neurant_router;

select private.audit_table('public.hitl_sessions', 'conversation_id',
  '{conversation_id,chatbot_id,status,reason,operator_id,opened_at,taken_at,ended_at,
    ended_by,escalated_at}',
  '{reason_detail,resolution_notes}',
  '{}',
  '{first_response_at}');

-- Its name makes it run after follow_hitl_session, so that the conversation is locked before the
-- company.
create trigger keep_hitl_count after insert or delete or update of status on public.hitl_sessions
  for each row execute function private.count_takeover();

create trigger attends_while_active before insert or update of operator_id on public.hitl_sessions
  for each row when (new.operator_id is not null and new.ended_at is null)
  execute function private.attends_while_active();

create function private.follow_hitl_session()
returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.conversations c
  set fence = c.fence + 1,
    is_hitl_active = new.ended_at is null,
    assigned_operator_id = case when new.ended_at is null then new.operator_id end,
    hitl_activated_at = case when new.ended_at is null then new.opened_at end,
    hitl_reason = case when new.ended_at is null then new.reason end
  where c.company_id = new.company_id and c.id = new.conversation_id;
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, sender_id, content)
  select new.company_id, new.conversation_id, new.chatbot_id, c.channel_account_id, 'system',
    coalesce(new.ended_by, new.operator_id, old.operator_id),
    case new.status
      when 'pending' then case when old.operator_id is null
        then private.queued_line(new.company_id, new.chatbot_id) else 'hitl_released' end
      when 'active' then 'hitl_taken'
      else 'hitl_resolved' end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id;
  return null;
end $$;
comment on function private.follow_hitl_session() is
  'Copies the state of hitl_sessions, which is authoritative, into the conversation''s HITL columns, raises the fence and writes a system line. Security definer, called by a trigger, because no role may write these columns directly.';

create trigger follow_hitl_session after insert on public.hitl_sessions
  for each row when (new.ended_at is null) execute function private.follow_hitl_session();

create trigger follow_hitl_session_change after update of status, operator_id on public.hitl_sessions
  for each row execute function private.follow_hitl_session();

create function private.can_work_on(p_conversation uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from public.conversations c
    where c.company_id = (select private.company_id('conversations.reply')) and c.id = p_conversation
      and ((select private.sees_all_chatbots())
        or c.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
        or c.assigned_operator_id = (select private.user_id())))
$$;
comment on function private.can_work_on(uuid) is
  'Returns whether the verified staff member may see and serve this conversation. Security definer, called by other definers only, because it is called by definers, whose own policies show every company.';

create function private.take_conversation(p_conversation uuid, p_take_over boolean default false)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_user uuid := private.user_id();
  v_chatbot uuid;
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  select c.chatbot_id into v_chatbot from public.conversations c
  where c.company_id = v_company and c.id = p_conversation and c.status = 'active' for update;
  if v_chatbot is null then
    return 'closed';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.id is null then
    insert into public.hitl_sessions
      (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)
    values (v_company, p_conversation, v_chatbot, 'active', 'manual', v_user, now());
    return 'taken';
  end if;
  if v_session.operator_id = v_user then
    return 'yours';
  end if;
  if v_session.status = 'active' and not (p_take_over and private.sees_all_chatbots()) then
    return 'taken_by_other';
  end if;
  update public.hitl_sessions s
  set status = 'active', operator_id = v_user, taken_at = coalesce(s.taken_at, now())
  where s.company_id = v_company and s.id = v_session.id;
  return 'taken';
end $$;
comment on function private.take_conversation(uuid, boolean) is
  'The caller takes a conversation. Outcome: taken, yours, taken_by_other, closed or not_found. Of two concurrent calls one succeeds. Security definer, called by staff and API keys, because it writes hitl_sessions, for a caller whose scope it checks itself.';
grant execute on function private.take_conversation(uuid, boolean) to authenticated;

create function private.take_for_reply(p_company uuid, p_conversation uuid, p_user uuid)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_outcome text;
begin
  if p_user is null or p_company is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "messages"'
      using errcode = 'insufficient_privilege';
  end if;
  v_outcome := private.take_conversation(p_conversation);
  if v_outcome = 'not_found' then
    raise exception 'new row violates row-level security policy for table "messages"'
      using errcode = 'insufficient_privilege';
  elsif v_outcome in ('taken_by_other', 'closed') then
    raise exception 'conversation is %', v_outcome using errcode = 'NA001', hint = v_outcome;
  end if;
  update public.hitl_sessions s
  set first_response_at = now()
  where s.company_id = p_company and s.conversation_id = p_conversation
    and s.ended_at is null and s.first_response_at is null;
end $$;
comment on function private.take_for_reply(uuid, uuid, uuid) is
  'Takes the conversation for a person who sends a message. Raises NA001 with the hint taken_by_other or closed if that is impossible. Security definer, called by other definers only, because it writes hitl_sessions.';

create function private.resolve_conversation(p_conversation uuid, p_notes text default null)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_user uuid := private.user_id();
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.id is null then
    return 'not_open';
  end if;
  if v_session.operator_id is distinct from v_user and v_session.operator_id is not null
    and not private.sees_all_chatbots() then
    return 'taken_by_other';
  end if;
  update public.hitl_sessions s
  set status = 'resolved', ended_at = now(), ended_by = v_user, resolution_notes = p_notes
  where s.company_id = v_company and s.id = v_session.id;
  return 'resolved';
end $$;
comment on function private.resolve_conversation(uuid, text) is
  'Ends the takeover, after which the bot answers again. Outcome: resolved, not_open, taken_by_other or not_found. Security definer, called by staff and API keys, because it writes hitl_sessions, for a caller whose scope it checks itself.';
grant execute on function private.resolve_conversation(uuid, text) to authenticated;

create function private.escalate_waiting(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_escalated integer;
begin
  with late as (
    select s.company_id, s.id
    from public.hitl_sessions s
    join public.chatbots b on b.company_id = s.company_id and b.id = s.chatbot_id
    join public.companies c on c.id = s.company_id and c.subscription_status <> 'cancelled'
    where s.status = 'pending' and s.escalated_at is null
      and s.opened_at <= p_now - b.auto_escalate_after_minutes * interval '1 minute'
    order by s.company_id, s.id
    for update of s skip locked
  ),
  escalated as (
    update public.hitl_sessions s set escalated_at = p_now
    from late
    where s.company_id = late.company_id and s.id = late.id
    returning s.company_id, s.conversation_id, s.chatbot_id
  ),
  told as (
    -- The supervisor in charge; where there is none, everybody from supervisor up.
    insert into public.notifications (company_id, user_id, kind, details)
    select e.company_id, u.id, 'customer_waiting',
      jsonb_build_object('conversation_id', e.conversation_id)
    from escalated e
    left join public.chatbot_supervisors k
      on k.company_id = e.company_id and k.chatbot_id = e.chatbot_id
    join public.users u on u.company_id = e.company_id and u.is_active
      and case when k.supervisor_id is null then u.role <> 'operador'
        else u.id = k.supervisor_id or u.role in ('owner', 'administrador') end
  )
  select count(*) into v_escalated from escalated;
  return v_escalated;
end $$;
comment on function private.escalate_waiting(timestamptz) is
  'Notifies the people in charge, once each, of customers who wait too long, over all companies; returns the number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.escalate_waiting(timestamptz) to neurant_jobs;

-- 47_transfers.sql -------------------------------------------------------------------------------
-- Transfers of a conversation from one person to another.

create table public.hitl_transfers (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  session_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  from_user_id uuid not null,
  to_user_id uuid not null,
  kind text not null default 'escalation'
    check (kind in ('escalation', 'skill_based', 'workload_distribution', 'emergency')),
  reason text not null check (btrim(reason) <> '' and char_length(reason) <= 2000),
  status text not null default 'pending'
    check (status in ('pending', 'accepted', 'rejected', 'expired', 'cancelled')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '5 minutes',
  decided_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, session_id) references public.hitl_sessions (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, from_user_id) references public.users (company_id, id),
  foreign key (company_id, to_user_id) references public.users (company_id, id),
  check (from_user_id <> to_user_id),
  check ((status = 'pending') = (decided_at is null))
);
comment on table public.hitl_transfers is
  'A request to transfer a takeover. Until the colleague accepts, the conversation stays with its operator.';
create unique index hitl_transfers_open_key
  on public.hitl_transfers (company_id, session_id) where status = 'pending';
create index hitl_transfers_session_idx on public.hitl_transfers (company_id, session_id);
create index hitl_transfers_conversation_idx on public.hitl_transfers (company_id, conversation_id);
create index hitl_transfers_from_idx on public.hitl_transfers (company_id, from_user_id);
create index hitl_transfers_to_idx on public.hitl_transfers (company_id, to_user_id);
create index hitl_transfers_expiring_idx on public.hitl_transfers (expires_at) where status = 'pending';

alter table public.hitl_transfers enable row level security, force row level security;
create policy staff_select on public.hitl_transfers for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())
      or from_user_id = (select private.user_id())));
create policy router_select on public.hitl_transfers for select to neurant_router using (true);
create policy router_insert on public.hitl_transfers for insert to neurant_router with check (true);
create policy router_update on public.hitl_transfers for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_transfers for delete to neurant_router using (true);
grant select on public.hitl_transfers to authenticated;
grant select, insert, update, delete on public.hitl_transfers to neurant_router;

select private.audit_table('public.hitl_transfers', 'conversation_id',
  '{session_id,conversation_id,chatbot_id,from_user_id,to_user_id,kind,status,expires_at,
    decided_at}',
  '{reason}',
  '{}',
  '{created_at}');

create function private.level(p_role public.user_role_enum) returns integer
language sql immutable set search_path = '' as $$
  select case p_role when 'owner' then 4 when 'administrador' then 3 when 'supervisor' then 2 else 1 end
$$;
grant execute on function private.level(public.user_role_enum) to neurant_router;

create function private.request_transfer(
  p_conversation uuid, p_to uuid, p_kind text, p_reason text) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.transfer');
  v_user uuid := private.user_id();
  v_session public.hitl_sessions;
  v_to public.users;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation
    and s.ended_at is null and s.operator_id = v_user;
  if v_session.id is null then
    return 'not_yours';
  end if;
  select u.* into v_to from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active and u.id <> v_user;
  if v_to.id is null or private.level(v_to.role) < private.level(private.user_role())
    or v_to.role = 'operador' and not exists (
      select from public.chatbot_operators o
      where o.company_id = v_company and o.chatbot_id = v_session.chatbot_id
        and o.operator_id = v_to.id and o.is_active) then
    return 'invalid_target';
  end if;
  insert into public.hitl_transfers
    (company_id, session_id, conversation_id, chatbot_id, from_user_id, to_user_id, kind, reason)
  values (v_company, v_session.id, p_conversation, v_session.chatbot_id, v_user, p_to, p_kind, p_reason)
  on conflict do nothing;
  if not found then
    return 'already_requested';
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, p_to, 'transfer_requested', jsonb_build_object('conversation_id', p_conversation));
  return 'requested';
end $$;
comment on function private.request_transfer(uuid, uuid, text, text) is
  'Asks a colleague (of the same level or above, who serves the bot) to take a conversation over. Outcome: requested, already_requested, invalid_target, not_yours or not_found. Security definer, called by staff and API keys, because an operador may not see every colleague.';
grant execute on function private.request_transfer(uuid, uuid, text, text) to authenticated;

create function private.decide_transfer(p_transfer uuid, p_accept boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.transfer');
  v_user uuid := private.user_id();
  v_transfer public.hitl_transfers;
begin
  select t.* into v_transfer from public.hitl_transfers t
  where t.company_id = v_company and t.id = p_transfer and t.to_user_id = v_user;
  if v_transfer.id is null then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = v_transfer.conversation_id for update;
  update public.hitl_transfers t
  set status = case
      when t.expires_at <= now() then 'expired'
      when p_accept then 'accepted'
      else 'rejected' end,
    decided_at = now()
  where t.company_id = v_company and t.id = p_transfer and t.status = 'pending'
  returning t.* into v_transfer;
  if not found then
    return 'closed';
  end if;
  if v_transfer.status = 'accepted' then
    update public.hitl_sessions s set operator_id = v_user
    where s.company_id = v_company and s.id = v_transfer.session_id and s.ended_at is null
      and s.operator_id = v_transfer.from_user_id;
    if not found then
      update public.hitl_transfers t set status = 'cancelled'
      where t.company_id = v_company and t.id = p_transfer;
      return 'closed';
    end if;
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, v_transfer.from_user_id, 'transfer_' || v_transfer.status,
    jsonb_build_object('conversation_id', v_transfer.conversation_id));
  return v_transfer.status;
end $$;
comment on function private.decide_transfer(uuid, boolean) is
  'Records the colleague''s answer. Outcome: accepted, rejected, expired, closed (decided or ended meanwhile) or not_found. Security definer, called by staff and API keys, because it transfers hitl_sessions, which no role may write directly.';
grant execute on function private.decide_transfer(uuid, boolean) to authenticated;

create function private.expire_transfers(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_expired integer;
begin
  with expired as (
    update public.hitl_transfers t set status = 'expired', decided_at = p_now
    where t.status = 'pending' and t.expires_at <= p_now
    returning t.company_id, t.from_user_id, t.conversation_id
  )
  insert into public.notifications (company_id, user_id, kind, details)
  select e.company_id, e.from_user_id, 'transfer_expired',
    jsonb_build_object('conversation_id', e.conversation_id)
  from expired e;
  get diagnostics v_expired = row_count;
  return v_expired;
end $$;
comment on function private.expire_transfers(timestamptz) is
  'Ends the requests that nobody answered in time, over all companies; returns the number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.expire_transfers(timestamptz) to neurant_jobs;

-- 48_service_desk.sql ----------------------------------------------------------------------------
-- The service desk: reactions, notes and canned responses.

create table public.message_reactions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  reaction_type public.reaction_type_enum not null,
  comment text check (char_length(comment) <= 2000),
  reacted_by_user_id uuid,
  reacted_by_end_user boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  -- Null stands for the one end user of the conversation, who also reacts once at most.
  unique nulls not distinct (company_id, message_id, reaction_type, reacted_by_user_id),
  foreign key (company_id, message_id) references public.messages (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, reacted_by_user_id) references public.users (company_id, id),
  check (reacted_by_end_user = (reacted_by_user_id is null))
);
create index message_reactions_conversation_idx
  on public.message_reactions (company_id, conversation_id);
create index message_reactions_user_idx on public.message_reactions (company_id, reacted_by_user_id)
  where reacted_by_user_id is not null;
create index message_reactions_newest_idx on public.message_reactions (company_id, created_at);

alter table public.message_reactions enable row level security, force row level security;
create policy staff_select on public.message_reactions for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.message_reactions for insert to authenticated
  with check (company_id = (select private.company_id('conversations.reply'))
    and reacted_by_user_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_delete on public.message_reactions for delete to authenticated
  using (company_id = (select private.company_id('conversations.reply'))
    and reacted_by_user_id = (select private.user_id()));
create policy visitor_select on public.message_reactions for select to visitor
  using (company_id = (select private.company_id()) and reacted_by_end_user
    and conversation_id = (select private.visitor_conversation_id()));
create policy visitor_insert on public.message_reactions for insert to visitor
  with check (company_id = (select private.company_id()) and reacted_by_end_user
    and conversation_id = (select private.visitor_conversation_id()));
create policy visitor_delete on public.message_reactions for delete to visitor
  using (company_id = (select private.company_id()) and reacted_by_end_user
    and conversation_id = (select private.visitor_conversation_id()));
create policy router_select on public.message_reactions for select to neurant_router using (true);
create policy router_insert on public.message_reactions for insert to neurant_router with check (true);
create policy router_update on public.message_reactions for update to neurant_router using (true) with check (true);
create policy router_delete on public.message_reactions for delete to neurant_router using (true);
grant select, delete on public.message_reactions to authenticated;
grant insert (company_id, message_id, reaction_type, comment) on public.message_reactions to
  authenticated, visitor;
grant delete on public.message_reactions to visitor;
grant select (company_id, id, message_id, conversation_id, reaction_type, reacted_by_end_user,
  created_at) on public.message_reactions to visitor;
grant select, insert, delete on public.message_reactions to neurant_router;
grant update (comment) on public.message_reactions to neurant_router;

create table public.notes (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  author_id uuid not null,
  content text not null check (btrim(content) <> '' and char_length(content) <= 10000),
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, author_id) references public.users (company_id, id)
);
comment on table public.notes is
  'Notes that the staff write to one another about a conversation. The customer never sees them.';
create index notes_conversation_idx on public.notes (company_id, conversation_id, created_at);
create index notes_author_idx on public.notes (company_id, author_id);

alter table public.notes enable row level security, force row level security;
create policy staff_select on public.notes for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.notes for insert to authenticated
  with check (company_id = (select private.company_id('conversations.reply'))
    and author_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy router_select on public.notes for select to neurant_router using (true);
create policy router_insert on public.notes for insert to neurant_router with check (true);
create policy router_update on public.notes for update to neurant_router using (true) with check (true);
create policy router_delete on public.notes for delete to neurant_router using (true);
grant select on public.notes to authenticated;
grant insert (company_id, id, conversation_id, content) on public.notes to authenticated;
grant select, insert, delete on public.notes to neurant_router;
grant update (content) on public.notes to neurant_router;

create table public.canned_responses (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  owner_id uuid,
  shortcut varchar(50) not null check (shortcut ~ '^[a-z0-9_-]+$'),
  content text not null check (btrim(content) <> '' and char_length(content) <= 10000),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique nulls not distinct (company_id, owner_id, shortcut),
  foreign key (company_id, owner_id) references public.users (company_id, id)
);
comment on column public.canned_responses.owner_id is 'Null: shared with the whole company.';

alter table public.canned_responses enable row level security, force row level security;
create policy staff_select on public.canned_responses for select to authenticated
  using (company_id = (select private.company_id('canned_responses.read'))
    and (owner_id is null or owner_id = (select private.user_id())));
create policy staff_insert on public.canned_responses for insert to authenticated
  with check (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
create policy staff_update on public.canned_responses for update to authenticated
  using (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))))
  with check (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
create policy staff_delete on public.canned_responses for delete to authenticated
  using (company_id = (select private.company_id('canned_responses.edit'))
    and (owner_id = (select private.user_id())
      or (owner_id is null and (select private.sees_all_chatbots()))));
create policy router_select on public.canned_responses for select to neurant_router using (true);
create policy router_delete on public.canned_responses for delete to neurant_router using (true);
grant select, delete on public.canned_responses to authenticated, neurant_router;
grant insert (company_id, owner_id, shortcut, content) on public.canned_responses to
  authenticated;
grant update (shortcut, content) on public.canned_responses to authenticated;

select private.audit_table('public.canned_responses', 'owner_id',
  '{owner_id}',
  '{shortcut,content}',
  '{}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.canned_responses
  for each row execute function private.update_updated_at_column();

create function private.place_reaction() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  select m.conversation_id, m.chatbot_id into new.conversation_id, new.chatbot_id
  from public.messages m
  where m.company_id = new.company_id and m.id = new.message_id and m.sender_type = 'bot';
  if new.conversation_id is null or new.company_id is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "message_reactions"'
      using errcode = 'insufficient_privilege';
  end if;
  new.reacted_by_user_id := private.user_id();
  new.reacted_by_end_user := new.reacted_by_user_id is null;
  return new;
end $$;
comment on function private.place_reaction() is
  'Sets the person who reacts and the conversation of the message; an insert cannot choose them. Only answers of a bot can be rated. Security definer, called by a trigger, because it reads the message before the policy decides on the complete row.';

create trigger place_reaction before insert on public.message_reactions
  for each row when (new.conversation_id is null) execute function private.place_reaction();

create function private.place_note() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  new.author_id := private.user_id();
  new.chatbot_id := (
    select c.chatbot_id from public.conversations c
    where c.company_id = new.company_id and c.id = new.conversation_id);
  if new.chatbot_id is null or new.author_id is null
    or new.company_id is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "notes"'
      using errcode = 'insufficient_privilege';
  end if;
  return new;
end $$;
comment on function private.place_note() is
  'Sets the author to the caller and the bot to the conversation''s. Security definer, called by a trigger, because an unknown conversation and one out of scope must raise the same error.';

create trigger place_note before insert on public.notes
  for each row when (new.author_id is null) execute function private.place_note();

-- 49_import.sql ----------------------------------------------------------------------------------
-- Import of conversations from other systems.

create function private.imported_id(p_parent uuid, p_external_id text) returns uuid
language sql stable set search_path = '' as $$
  -- As RFC 9562 has it for hashes of one's own: version 8.
  select encode(set_byte(set_byte(h.bytes, 6, get_byte(h.bytes, 6) & 15 | 128),
    8, get_byte(h.bytes, 8) & 63 | 128), 'hex')::uuid
  from (select substr(sha256(uuid_send(p_parent) || convert_to(p_external_id, 'UTF8')), 1, 16)) as h (bytes)
$$;
comment on function private.imported_id(uuid, text) is
  'Returns the id of an imported object by its parent (the bot, the conversation) and its external id: the same each time.';
grant execute on function private.imported_id(uuid, text) to neurant_router;

create function private.import_conversations(
  p_chatbot uuid, p_external_id text[], p_channel text[], p_end_user_id text[],
  p_end_user_name text[], p_end_user_avatar text[], p_status text[], p_rating integer[],
  p_rating_comment text[], p_summary text[], p_context text[],
  p_of integer[], p_message_id text[], p_sender text[], p_sender_id uuid[], p_type text[],
  p_content text[], p_media_url text[], p_media_type text[], p_sent_at timestamptz[])
returns table (place integer, outcome text, conversation_id uuid, added integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.import');
  v_conversations integer := 0;
  v_messages integer := 0;
begin
  if private.user_id() is null or not exists (
    select from public.chatbots b where b.company_id = v_company and b.id = p_chatbot) then
    return;
  end if;
  -- Two imports of one conversation would both find it missing.
  perform pg_advisory_xact_lock(
    hashtextextended('private.import_conversations ' || v_company, 0));
  -- Nobody archives or erases what is being extended.
  perform from public.conversations c
  where c.company_id = v_company
    and c.id = any (array(select private.imported_id(p_chatbot, e.id) from unnest(p_external_id) e (id)))
  order by c.id for update;
  for place, outcome, conversation_id, added in
    with given as materialized (
      select g.*, private.imported_id(p_chatbot, g.external_id) as id,
        count(*) over (partition by g.external_id order by g.place) as time,
        (select a.id from public.channel_accounts a
          where a.company_id = v_company and a.chatbot_id = p_chatbot
            and a.channel = g.channel::public.conversation_channel_enum
          order by a.id limit 1) as account_id
      from unnest(p_external_id, p_channel, p_end_user_id, p_end_user_name, p_end_user_avatar,
          p_status, p_rating, p_rating_comment, p_summary, p_context) with ordinality
        as g (external_id, channel, end_user_id, end_user_name, end_user_avatar,
          status, rating, rating_comment, summary, context, place)
    ),
    conversation as materialized (
      select g.*, live.id is not null as is_live, old.id is not null as is_archived,
        coalesce(live.end_user_id, old.end_user_id) as known_end_user_id,
        coalesce(live.channel_account_id, g.account_id) as channel_account_id,
        coalesce(live.last_seq, 0) as last_seq, live.last_message_at
      from given g
      left join public.conversations live on live.company_id = v_company and live.id = g.id
      left join public.conversations_archived old on old.company_id = v_company and old.id = g.id
    ),
    message as materialized (
      select x.*, case
          when c.is_live then exists (select from public.messages k
            where k.company_id = v_company and k.id = x.id)
          when c.is_archived then exists (select from public.messages_archived k
            where k.company_id = v_company and k.id = x.id)
          else false end as is_known
      from (
        select m.*, private.imported_id(c.id, m.external_id) as id,
          lag(m.sent_at) over (partition by m.of order by m.place) > m.sent_at as is_late,
          row_number() over (partition by m.of, m.external_id order by m.place) > 1 as is_repeated
        from unnest(p_of, p_message_id, p_sender, p_sender_id, p_type, p_content, p_media_url,
            p_media_type, p_sent_at) with ordinality
          as m (of, external_id, sender, sender_id, type, content, media_url, media_type, sent_at,
            place)
        join given c on c.place = m.of) x
      join conversation c on c.place = x.of
    ),
    told as materialized (
      select m.of, max(m.sent_at) as newest, bool_or(m.is_late) as is_late,
        bool_or(m.is_repeated) as is_repeated,
        bool_or(m.sender_id is not null and (u.id is null or m.sender <> 'human'))
          as is_by_unknown,
        bool_or(m.type = 'text' and m.content = '') as is_empty,
        min(m.sent_at) filter (where not m.is_known) as oldest_fresh,
        count(*) filter (where not m.is_known) as fresh,
        count(*) filter (where not m.is_known and m.sender = 'bot') as bot,
        count(*) filter (where not m.is_known and m.sender = 'human') as human
      from message m
      left join public.users u on u.company_id = v_company and u.id = m.sender_id
      group by m.of
    ),
    judged as materialized (
      select c.*, t.newest, t.oldest_fresh, t.fresh, t.bot, t.human,
        case
          when c.time > 1 then 'repeated'
          when c.channel_account_id is null and not c.is_archived then 'no_channel'
          when starts_with(coalesce(c.known_end_user_id, c.end_user_id), 'erased-') then 'erased'
          when c.known_end_user_id <> c.end_user_id then 'other_contact'
          when t.is_repeated then 'repeated_message'
          when t.newest > clock_timestamp() then 'in_the_future'
          when t.is_late then 'out_of_order'
          when t.is_by_unknown then 'unknown_sender'
          when t.is_empty then 'empty_text'
          when t.fresh = 0 then 'unchanged'
          when c.is_archived then 'archived'
          when t.oldest_fresh < c.last_message_at then 'too_early'
          when c.is_live then 'extended'
          else 'imported' end as outcome
      from conversation c
      join told t on t.of = c.place
    ),
    opened as (
      -- Sorted as the arriving messages' are, so that both lock the contacts in one order.
      insert into public.conversations (company_id, id, chatbot_id, channel_account_id, end_user_id,
        end_user_name, end_user_avatar, channel, status, message_count, bot_message_count,
        human_message_count, started_at, last_message_at, ended_at, session_duration_minutes,
        satisfaction_rating, satisfaction_comment, conversation_summary, context_data, last_seq)
      select v_company, j.id, p_chatbot, j.channel_account_id, j.end_user_id,
        j.end_user_name, j.end_user_avatar, j.channel::public.conversation_channel_enum,
        j.status::public.conversation_status_enum, j.fresh, j.bot,
        j.human, j.oldest_fresh, j.newest, j.newest,
        floor(extract(epoch from j.newest - j.oldest_fresh) / 60),
        j.rating, j.rating_comment, j.summary, j.context::jsonb, j.fresh
      from judged j
      where j.outcome = 'imported'
      order by j.channel_account_id, j.end_user_id
    ),
    extended as (
      update public.conversations c
      set last_seq = c.last_seq + j.fresh, message_count = c.message_count + j.fresh,
        bot_message_count = c.bot_message_count + j.bot,
        human_message_count = c.human_message_count + j.human,
        last_message_at = j.newest, ended_at = j.newest,
        session_duration_minutes = floor(extract(epoch from j.newest - c.started_at) / 60)
      from judged j
      where j.outcome = 'extended' and c.company_id = v_company and c.id = j.id
    ),
    said as (
      -- With their numbers: so nobody counts them against the plan, and nobody answers.
      insert into public.messages (company_id, id, conversation_id, chatbot_id, channel_account_id,
        seq, content, message_type, media_url, media_type, sender_type, sender_id, status,
        created_at)
      select v_company, m.id, j.id, p_chatbot, j.channel_account_id,
        j.last_seq + row_number() over (partition by m.of order by m.place), m.content,
        m.type::public.message_type_enum, m.media_url, m.media_type,
        m.sender::public.sender_type_enum, m.sender_id,
        case m.sender when 'end_user' then 'delivered'::public.message_status_enum else 'sent' end,
        m.sent_at
      from message m
      join judged j on j.place = m.of
      where j.outcome in ('imported', 'extended') and not m.is_known
    )
    select j.place, j.outcome,
      case when j.is_live or j.is_archived or j.outcome = 'imported' then j.id end,
      case when j.outcome in ('imported', 'extended') then j.fresh else 0 end
    from judged j
    order by j.place
  loop
    v_conversations := v_conversations + (added > 0)::integer;
    v_messages := v_messages + added;
    return next;
  end loop;
  if v_messages > 0 then
    perform private.write_audit(v_company, 'create', 'conversation_imports', p_chatbot,
      jsonb_build_object('chatbot_id', p_chatbot, 'conversations', v_conversations,
        'messages', v_messages));
  end if;
end $$;
comment on function private.import_conversations(uuid, text[], text[], text[], text[], text[], text[], integer[], text[], text[], text[], integer[], text[], text[], uuid[], text[], text[], text[], text[], timestamptz[]) is
  'Imports past conversations of a bot, each one entirely or not at all. Outcome per conversation: imported, extended, unchanged, or the reason of refusal. They are finished: nothing is sent, answered, notified or counted against the plan. p_of holds each message''s conversation, counted from 1. No rows: no such bot. Security definer, called by staff and API keys, because no role may write conversations and their counters directly.';
grant execute on function private.import_conversations(uuid, text[], text[], text[], text[],
  text[], text[], integer[], text[], text[], text[], integer[], text[], text[], uuid[], text[],
  text[], text[], text[], timestamptz[]) to authenticated;

-- 50_ingest.sql ----------------------------------------------------------------------------------
-- Ingest: the events that channels deliver.

create table public.inbound_events (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  external_id varchar(255) not null,
  payload bytea not null,
  reason text not null,
  received_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, channel_account_id, external_id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id)
);
comment on table public.inbound_events is
  'Events of a channel that did not become a message (an edit, an unsupported kind, a row that the database refused), raw and with the reason, so that no acknowledged event is lost.';

alter table public.inbound_events enable row level security, force row level security;
create policy staff_select on public.inbound_events for select to authenticated
  using (company_id = (select private.company_id('channels.read'))
    and (select private.manages_company()));
create policy router_select on public.inbound_events for select to neurant_router using (true);
create policy router_insert on public.inbound_events for insert to neurant_router with check (true);
create policy router_delete on public.inbound_events for delete to neurant_router using (true);
grant select on public.inbound_events to authenticated;
grant select, insert, delete on public.inbound_events to neurant_router;

create function private.ingest(
  p_routing_id text[], p_channel text[], p_credential bytea[], p_end_user_id text[],
  p_end_user_name text[], p_external_id text[], p_message_type text[], p_content text[],
  p_media_url text[])
returns table (
  ord bigint, outcome text, company_id uuid, conversation_id uuid, message_id uuid, seq bigint)
language sql volatile security definer set search_path = '' as $$
  with event as materialized (
    select e.*
    from unnest(p_routing_id, p_channel, p_credential, p_end_user_id, p_end_user_name,
        p_external_id, p_message_type, p_content, p_media_url) with ordinality
      as e (routing_id, channel, credential, end_user_id, end_user_name, external_id,
        message_type, content, media_url, ord)
  ),
  routed as materialized (
    -- The company comes from the channel account, never from the event.
    select e.ord, a.company_id, a.id as channel_account_id, a.chatbot_id, a.channel,
      case a.channel when 'web' then v.id is not null else a.secret_digest = e.credential end
        as is_genuine,
      coalesce(v.id::text, e.end_user_id) as end_user_id, e.end_user_name,
      case a.channel when 'web' then v.id || ':' || e.external_id else e.external_id end
        as external_id,
      e.message_type::public.message_type_enum as message_type, e.content, e.media_url
    from event e
    join public.channel_accounts a
      on a.routing_id = e.routing_id and a.channel::text = e.channel and a.status = 'connected'
    join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
    left join public.visitor_sessions v
      on a.channel = 'web' and v.token_digest = e.credential and v.company_id = a.company_id
      and v.channel_account_id = a.id and v.expires_at > now()
  ),
  looked_up as materialized (
    -- Of what is told twice in one batch, the first counts.
    select r.*, known.id as known_id, known.conversation_id as known_conversation_id,
      known.seq as known_seq,
      min(r.ord) over (partition by r.company_id, r.channel_account_id, r.external_id, r.is_genuine)
        as first_ord
    from routed r
    left join public.messages known on r.is_genuine and known.company_id = r.company_id
      and known.channel_account_id = r.channel_account_id
      and known.external_message_id = r.external_id
  ),
  fresh as materialized (
    select l.* from looked_up l where l.is_genuine and l.known_id is null and l.ord = l.first_ord
  ),
  this_moment as materialized (select clock_timestamp() as moment),
  opened as (
    -- Sorted, so that two batches lock their conversations in the same order.
    insert into public.conversations as c
      (company_id, chatbot_id, channel_account_id, end_user_id, end_user_name, channel,
        last_seq, message_count, last_message_at, last_message_slot)
    select f.company_id, f.chatbot_id, f.channel_account_id, f.end_user_id,
      max(f.end_user_name), f.channel, count(*), count(*), t.moment,
      date_bin('10 minutes', t.moment, 'epoch')
    from fresh f cross join this_moment t
    group by f.company_id, f.chatbot_id, f.channel_account_id, f.end_user_id, f.channel, t.moment
    order by f.company_id, f.channel_account_id, f.end_user_id
    on conflict (company_id, channel_account_id, end_user_id) where status = 'active'
    do update set
      last_seq = c.last_seq + excluded.last_seq,
      message_count = c.message_count + excluded.message_count,
      -- By the clock, once the row is ours: a conversation's messages have rising times.
      last_message_at = greatest(c.last_message_at, clock_timestamp()),
      end_user_name = coalesce(excluded.end_user_name, c.end_user_name),
      updated_at = now()
    returning c.company_id, c.id, c.chatbot_id, c.channel_account_id, c.end_user_id, c.last_seq,
      c.last_message_at
  ),
  numbered as materialized (
    select f.*, o.id as conversation_id, o.last_message_at, uuidv7() as message_id,
      o.last_seq + 1 - row_number() over (partition by o.company_id, o.id order by f.ord desc)
        as seq
    from fresh f
    join opened o on o.company_id = f.company_id
      and o.channel_account_id = f.channel_account_id and o.end_user_id = f.end_user_id
  ),
  stored as (
    insert into public.messages
      (company_id, id, conversation_id, chatbot_id, channel_account_id, seq, external_message_id,
        sender_type, message_type, content, media_url, status, created_at)
    select n.company_id, n.message_id, n.conversation_id, n.chatbot_id, n.channel_account_id, n.seq,
      n.external_id, 'end_user', n.message_type, n.content, n.media_url, 'delivered',
      n.last_message_at
    from numbered n
  ),
  requested as (
    insert into public.reply_requests (company_id, conversation_id, wanted_seq, due_at)
    select o.company_id, o.id, o.last_seq, now() + b.response_delay_ms * interval '1 millisecond'
    from opened o
    join public.chatbots b on b.company_id = o.company_id and b.id = o.chatbot_id
    order by o.company_id, o.id
    on conflict on constraint reply_requests_pkey do update set wanted_seq = excluded.wanted_seq
  )
  select e.ord,
    case
      when l.ord is null then 'unknown'
      when not l.is_genuine then 'refused'
      when n.ord = e.ord then 'stored'
      else 'duplicate' end,
    l.company_id,
    coalesce(n.conversation_id, l.known_conversation_id),
    coalesce(n.message_id, l.known_id),
    coalesce(n.seq, l.known_seq)
  from event e
  left join looked_up l on l.ord = e.ord
  left join numbered n on n.ord = l.first_ord and l.is_genuine
  order by e.ord
$$;
comment on function private.ingest(text[], text[], bytea[], text[], text[], text[], text[], text[], text[]) is
  'Stores events of any company: verifies each by its channel account, drops known ones, opens or continues the conversation, and requests one reply each. Outcome per event: stored, duplicate, refused or unknown. Security definer, called by the web process, because webhooks belong to no principal, and one batch holds many companies.';
grant execute on function private.ingest(text[], text[], bytea[], text[], text[], text[], text[],
  text[], text[]) to neurant_app;

create function private.set_aside_event(
  p_routing_id text, p_credential bytea, p_external_id text, p_payload bytea, p_reason text)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_account public.channel_accounts;
begin
  select a.* into v_account from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.status = 'connected';
  if v_account.id is null then
    return 'unknown';
  end if;
  if v_account.secret_digest is distinct from p_credential then
    return 'refused';
  end if;
  insert into public.inbound_events (company_id, channel_account_id, external_id, payload, reason)
  values (v_account.company_id, v_account.id, p_external_id, p_payload, p_reason)
  on conflict (company_id, channel_account_id, external_id) do nothing;
  return 'set_aside';
end $$;
comment on function private.set_aside_event(text, bytea, text, bytea, text) is
  'Stores a raw event that did not become a message. Security definer, called by the web process, because webhooks belong to no principal.';
grant execute on function private.set_aside_event(text, bytea, text, bytea, text) to neurant_app;

-- 51_replies.sql ---------------------------------------------------------------------------------
-- Replies and delivery: the two busiest queues.

create table public.reply_requests (
  company_id uuid not null,
  conversation_id uuid not null,
  wanted_seq bigint not null,
  requested_at timestamptz not null default now(),
  due_at timestamptz not null,
  attempts integer not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text,
  primary key (company_id, conversation_id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id)
);
comment on table public.reply_requests is
  'Replies that are owed. The key is the conversation, so a burst of messages requests one reply.';
create index reply_requests_due_idx on public.reply_requests (company_id, due_at);

alter table public.reply_requests enable row level security, force row level security;
create policy staff_select on public.reply_requests for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations c
      where c.company_id = reply_requests.company_id and c.id = reply_requests.conversation_id));
create policy visitor_select on public.reply_requests for select to visitor
  using (company_id = (select private.company_id())
    and conversation_id = (select private.visitor_conversation_id()));
create policy worker_select on public.reply_requests for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.reply_requests for select to neurant_router using (true);
create policy router_insert on public.reply_requests for insert to neurant_router with check (true);
create policy router_update on public.reply_requests for update to neurant_router using (true) with check (true);
create policy router_delete on public.reply_requests for delete to neurant_router using (true);
grant select on public.reply_requests to authenticated, neurant_worker;
grant select (company_id, conversation_id, wanted_seq) on public.reply_requests to visitor;
grant select, insert, update, delete on public.reply_requests to neurant_router;

create table public.outbox (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  message_id uuid not null,
  channel_account_id uuid not null,
  seq bigint not null,
  fence bigint,
  status text not null default 'pending'
    check (status in ('pending', 'sending', 'sent', 'failed', 'unknown', 'cancelled')),
  due_at timestamptz not null default now(),
  attempts integer not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text,
  sent_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, message_id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id),
  foreign key (company_id, message_id) references public.messages (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  check ((status = 'sending') = (claim_token is not null and claimed_until is not null))
);
comment on column public.outbox.fence is
  'The fence under which the bot wrote the message; compared again at claim. Null: a message of a person or the system, which is always sent.';
create index outbox_waiting_idx on public.outbox (company_id, due_at) where status in ('pending', 'sending');
create index outbox_order_idx on public.outbox (company_id, conversation_id, seq)
  where status in ('pending', 'sending');
create index outbox_conversation_idx on public.outbox (company_id, conversation_id);
create index outbox_account_idx on public.outbox (company_id, channel_account_id);

alter table public.outbox enable row level security, force row level security;
create policy staff_select on public.outbox for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations c
      where c.company_id = outbox.company_id and c.id = outbox.conversation_id));
create policy worker_select on public.outbox for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.outbox for select to neurant_router using (true);
create policy router_insert on public.outbox for insert to neurant_router with check (true);
create policy router_update on public.outbox for update to neurant_router using (true) with check (true);
create policy router_delete on public.outbox for delete to neurant_router using (true);
grant select on public.outbox to authenticated, neurant_worker;
grant select, insert, update, delete on public.outbox to neurant_router;

-- Customers of an inactive company may write, and get no replies.
-- A worker passes the most replies of one company that it makes at once (p_share), so that a
-- company with many replies leaves places for the replies of others.
create function private.claim_replies(
  p_limit integer, p_lease interval, p_share integer default null, p_running uuid[] default '{}')
returns table (company_id uuid, conversation_id uuid, wanted_seq bigint, claim_token uuid, attempts integer)
language sql volatile security definer set search_path = '' as $$
  with recursive company as (
    -- A loose index scan: one step per company that waits, however many requests each has.
    (select r.company_id from public.reply_requests r order by r.company_id limit 1)
    union all
    select (select r.company_id from public.reply_requests r
      where r.company_id > k.company_id order by r.company_id limit 1)
    from company k where k.company_id is not null
  ),
  waiting as (
    select w.company_id, w.conversation_id,
      w.turn + (select count(*) from public.reply_requests busy
        where busy.company_id = k.company_id and busy.claimed_until > now()) as turn,
      w.due_at
    from company k
    join public.companies c on c.id = k.company_id
      and c.subscription_status not in ('cancelled', 'inactive')
    cross join lateral (
      select r.company_id, r.conversation_id, r.due_at,
        row_number() over (order by r.due_at) as turn
      from public.reply_requests r
      where r.company_id = k.company_id and r.due_at <= now()
        and (r.claimed_until is null or r.claimed_until <= now())
      order by r.due_at limit p_limit) w
    where k.company_id is not null
      and (p_share is null or w.turn <= p_share - cardinality(array_positions(p_running, k.company_id)))
  ),
  chosen as (
    -- Every company's first before any company's second.
    select r.company_id, r.conversation_id
    from public.reply_requests r
    join waiting w on w.company_id = r.company_id and w.conversation_id = r.conversation_id
    where r.claimed_until is null or r.claimed_until <= now()
    order by w.turn, w.due_at
    limit p_limit
    for update of r skip locked
  )
  update public.reply_requests r
  set claim_token = gen_random_uuid(), claimed_until = now() + p_lease, attempts = r.attempts + 1
  from chosen
  where r.company_id = chosen.company_id and r.conversation_id = chosen.conversation_id
  returning r.company_id, r.conversation_id, r.wanted_seq, r.claim_token, r.attempts
$$;
comment on function private.claim_replies(integer, interval, integer, uuid[]) is
  'Leases replies that are owed, fairly across companies. p_share: the most replies of one company that a worker makes at once; p_running: the company of each reply that the worker makes now. Security definer, called by the worker process, because the queue holds all companies; it returns ids only.';
grant execute on function private.claim_replies(integer, interval, integer, uuid[]) to neurant_jobs;

create function private.finish_reply(
  p_conversation uuid, p_token uuid, p_fence bigint, p_read_seq bigint, p_action text,
  p_content text default null, p_sources jsonb default '[]', p_confidence numeric default null,
  p_model text default null, p_processing_ms integer default null,
  p_reason text default null, p_detail text default null, p_tokens integer default null,
  p_explanation jsonb default null, p_context jsonb default '{}')
returns table (outcome text, message_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_conversation public.conversations;
  v_request public.reply_requests;
  v_message uuid;
begin
  select c.* into v_conversation from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select r.* into v_request from public.reply_requests r
  where r.company_id = v_company and r.conversation_id = p_conversation
    and r.claim_token = p_token for update;
  if v_request.conversation_id is null then
    return query select 'lost', null::uuid;  -- the lease ran out and somebody else has it, or did it
    return;
  end if;
  if v_request.wanted_seq > p_read_seq
    and (p_action = 'none' or v_request.requested_at > now() - interval '10 seconds')
    or v_conversation.fence <> p_fence and not v_conversation.is_hitl_active then
    -- More was said meanwhile, and one reply answers all of it; or somebody stepped in and out
    -- again: what is still unanswered is read anew.
    update public.reply_requests r
    set claim_token = null, claimed_until = null, attempts = 0, due_at = now()
    where r.company_id = v_company and r.conversation_id = p_conversation;
    return query select 'superseded', null::uuid;
    return;
  end if;
  if p_action <> 'none' and (v_conversation.fence <> p_fence or v_conversation.is_hitl_active) then
    p_action := 'none';
    outcome := 'fenced';
  end if;
  if p_context <> '{}' then
    -- A null removes a fact.
    update public.conversations c
    set context_data = jsonb_strip_nulls(coalesce(c.context_data, '{}') || p_context)
    where c.company_id = v_company and c.id = p_conversation;
  end if;
  if p_action = 'escalate' then
    -- A takeover may be counted on the company's row, which comes before a message's slot.
    perform from public.companies k where k.id = v_company for no key update;
  end if;
  if p_action in ('answer', 'escalate') and p_content is not null then
    begin
      insert into public.messages (company_id, conversation_id, chatbot_id, channel_account_id,
        sender_type, content, knowledge_sources, used_knowledge_base, confidence_score, model_used,
        tokens_used, processing_time_ms, explanation)
      values (v_company, p_conversation, v_conversation.chatbot_id,
        v_conversation.channel_account_id, 'bot', p_content, p_sources, p_sources <> '[]',
        p_confidence, coalesce(p_model, 'phrase'), p_tokens, p_processing_ms, p_explanation)
      returning id into v_message;
    exception when sqlstate 'NA002' then
      p_action := 'limit';
    end;
  elsif p_action = 'notice' then
    v_message := private.give_notice(v_company, p_conversation, p_content);
  end if;
  if p_action = 'limit' then
    outcome := 'limited';
    v_message := private.tell_of_limit(v_company, p_conversation);
    p_reason := coalesce(p_reason, 'limit_reached');
  end if;
  if p_action = 'escalate' or p_action = 'limit' and exists (
    select from public.chatbots b
    where b.company_id = v_company and b.id = v_conversation.chatbot_id and b.hitl_enabled)
  then
    -- Said as part of the handover: the takeover that follows must not cancel it.
    update public.outbox o set fence = null
    where o.company_id = v_company and o.message_id = v_message;
    begin
      insert into public.hitl_sessions
        (company_id, conversation_id, chatbot_id, reason, reason_detail)
      values (v_company, p_conversation, v_conversation.chatbot_id, p_reason, p_detail);
    exception when sqlstate 'NA002' then
      -- All the people that the plan allows are taken: whoever asked for one is told so.
      if v_message is null and p_action = 'escalate' then
        v_message := private.give_notice(v_company, p_conversation, 'hitl_full');
      end if;
    end;
  end if;
  if v_request.wanted_seq > p_read_seq then
    update public.reply_requests r
    set claim_token = null, claimed_until = null, attempts = 0, due_at = now(), requested_at = now()
    where r.company_id = v_company and r.conversation_id = p_conversation;
  else
    delete from public.reply_requests r
    where r.company_id = v_company and r.conversation_id = p_conversation;
  end if;
  return query select coalesce(outcome, 'done'), v_message;
end $$;
comment on function private.finish_reply(uuid, uuid, bigint, bigint, text, text, jsonb, numeric, text, integer, text, text, integer, jsonb, jsonb) is
  'Writes the result of a reply (answer, escalate, notice, limit, none) and what the conversation established (p_context; a null removes a fact) if its lease and the conversation''s fence are still valid, and completes the request. It locks the conversation, so a person who takes it at the same time comes before or after. Outcome: done, limited (no bot messages left this month: the notice, and a person), fenced, superseded (more happened meanwhile: claim again) or lost. Security definer, called by the worker for one company, because no role may write senders, queues and takeovers directly.';
grant execute on function private.finish_reply(uuid, uuid, bigint, bigint, text, text, jsonb,
  numeric, text, integer, text, text, integer, jsonb, jsonb) to neurant_worker;

create function private.fail_reply(p_conversation uuid, p_token uuid, p_error text, p_retry_in interval)
returns boolean
language sql volatile security definer set search_path = '' as $$
  update public.reply_requests r
  set claim_token = null, claimed_until = null, last_error = p_error, due_at = now() + p_retry_in
  where r.company_id = (select private.company_id()) and r.conversation_id = p_conversation
    and r.claim_token = p_token
  returning true
$$;
comment on function private.fail_reply(uuid, uuid, text, interval) is
  'Returns a reply to the queue, to be retried later. Security definer, called by the worker for one company, because no role may write the queues directly.';
grant execute on function private.fail_reply(uuid, uuid, text, interval) to neurant_worker;

create function private.claim_outbox(p_limit integer, p_lease interval)
returns table (company_id uuid, outbox_id uuid, conversation_id uuid, claim_token uuid, outcome text)
language sql volatile security definer set search_path = '' as $$
  with recursive company as (
    (select o.company_id from public.outbox o where o.status in ('pending', 'sending')
      order by o.company_id limit 1)
    union all
    select (select o.company_id from public.outbox o
      where o.status in ('pending', 'sending') and o.company_id > k.company_id
      order by o.company_id limit 1)
    from company k where k.company_id is not null
  ),
  waiting as (
    select w.*
    from company k
    join public.companies c on c.id = k.company_id and c.subscription_status <> 'cancelled'
    cross join lateral (
      select o.company_id, o.id, o.due_at, row_number() over (order by o.due_at) as turn
      from public.outbox o
      where o.company_id = k.company_id
        and (o.status = 'pending' and o.due_at <= now()
          or o.status = 'sending' and o.claimed_until <= now())
        and not exists (  -- in order: nothing older of the conversation is still on its way
          select from public.outbox older
          where older.company_id = o.company_id and older.conversation_id = o.conversation_id
            and older.seq < o.seq and older.status in ('pending', 'sending'))
      order by o.due_at limit p_limit) w
    where k.company_id is not null
  ),
  chosen as (
    select o.company_id, o.id,
      case
        -- A dead worker held it: it may have arrived, so it is not sent again blindly.
        when o.status = 'sending' then 'unknown'
        when o.fence is not null and (c.fence <> o.fence or c.is_hitl_active) then 'cancelled'
        else 'sending' end as next_status
    from public.outbox o
    join waiting w on w.company_id = o.company_id and w.id = o.id
    join public.conversations c on c.company_id = o.company_id and c.id = o.conversation_id
    where o.status = 'pending' or o.claimed_until <= now()
    order by w.turn, w.due_at
    limit p_limit
    for update of o skip locked
  ),
  claimed as (
    update public.outbox o
    set status = chosen.next_status,
      claim_token = case chosen.next_status when 'sending' then gen_random_uuid() end,
      claimed_until = case chosen.next_status when 'sending' then now() + p_lease end,
      attempts = o.attempts + (chosen.next_status = 'sending')::integer,
      last_error = case chosen.next_status
        when 'unknown' then 'worker_died' when 'cancelled' then 'taken_over' else o.last_error end
    from chosen
    where o.company_id = chosen.company_id and o.id = chosen.id
    returning o.company_id, o.id, o.conversation_id, o.message_id, o.claim_token, o.status
  ),
  told as (
    update public.messages m set status = claimed.status::public.message_status_enum
    from claimed
    where m.company_id = claimed.company_id and m.id = claimed.message_id
      and claimed.status in ('unknown', 'cancelled')
  )
  select claimed.company_id, claimed.id, claimed.conversation_id, claimed.claim_token, claimed.status
  from claimed
$$;
comment on function private.claim_outbox(integer, interval) is
  'Leases messages to send, fairly across companies and in order within a conversation. Messages leased by a dead worker become unknown; bot messages written before a takeover are cancelled. Security definer, called by the worker process, because the queue holds all companies; it returns ids only.';
grant execute on function private.claim_outbox(integer, interval) to neurant_jobs;

create function private.finish_delivery(
  p_outbox uuid, p_token uuid, p_outcome text, p_external_id text default null,
  p_error text default null, p_retry_in interval default null)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_message uuid;
begin
  update public.outbox o
  set status = case p_outcome when 'retry' then 'pending' else p_outcome end,
    claim_token = null, claimed_until = null, last_error = p_error,
    due_at = case p_outcome when 'retry' then now() + p_retry_in else o.due_at end,
    sent_at = case p_outcome when 'sent' then now() end
  where o.company_id = (select private.company_id()) and o.id = p_outbox
    -- A lease that ran out while the request was under way: the channel's word still counts.
    and (o.claim_token = p_token or o.status = 'unknown' and p_outcome = 'sent')
  returning o.message_id into v_message;
  if v_message is null then
    return false;
  end if;
  if p_outcome <> 'retry' then
    update public.messages m
    set status = p_outcome::public.message_status_enum,
      external_message_id = coalesce(p_external_id, m.external_message_id)
    where m.company_id = (select private.company_id()) and m.id = v_message;
  end if;
  return true;
end $$;
comment on function private.finish_delivery(uuid, uuid, text, text, text, interval) is
  'Records the outcome of a delivery: sent, failed, unknown, or retry later. Security definer, called by the worker for one company, because no role may write the outbox directly.';
grant execute on function private.finish_delivery(uuid, uuid, text, text, text, interval) to
  neurant_worker;

create function private.next_reply_due() returns timestamptz
language sql stable security definer set search_path = '' as $$
  select min(greatest(r.due_at, coalesce(r.claimed_until, r.due_at)))
  from public.reply_requests r
  join public.companies c on c.id = r.company_id
    and c.subscription_status not in ('cancelled', 'inactive')
$$;
comment on function private.next_reply_due() is
  'Returns when claim_replies has work next, over all companies. Security definer, called by the worker process, because the queue holds all companies.';
grant execute on function private.next_reply_due() to neurant_jobs;

create function private.next_delivery_due() returns timestamptz
language sql stable security definer set search_path = '' as $$
  select min(greatest(o.due_at, coalesce(o.claimed_until, o.due_at)))
  from public.outbox o
  join public.companies c on c.id = o.company_id and c.subscription_status <> 'cancelled'
  where o.status in ('pending', 'sending')
    and not exists (  -- what waits behind an older message is due when that one is
      select from public.outbox older
      where older.company_id = o.company_id and older.conversation_id = o.conversation_id
        and older.seq < o.seq and older.status in ('pending', 'sending'))
$$;
comment on function private.next_delivery_due() is
  'Returns when claim_outbox has work next, over all companies. Security definer, called by the worker process, because the queue holds all companies.';
grant execute on function private.next_delivery_due() to neurant_jobs;

-- 52_knowledge.sql -------------------------------------------------------------------------------
-- Knowledge: documents, their chunks and the search in them.

create table public.embedding_models (
  name text not null primary key,
  dimensions smallint not null check (dimensions between 1 and 16000),
  unique (name, dimensions)
);
comment on table public.embedding_models is
  'Platform table: the models that make the vectors of chunks. A search uses one model.';

alter table public.embedding_models enable row level security, force row level security;
create policy everybody_select on public.embedding_models for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.embedding_models to authenticated, neurant_worker, neurant_router;

create table public.documents (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  chatbot_id uuid,
  filename varchar(255) not null,
  original_filename varchar(255) not null,
  file_type varchar(50) not null check (file_type in ('pdf', 'docx', 'txt')),
  file_size_bytes bigint not null check (file_size_bytes > 0),
  file_url text not null,
  content_digest bytea not null check (octet_length(content_digest) = 32),
  extracted_text text,
  words text,
  character_count integer check (character_count >= 0),
  chunk_count integer default 0 check (chunk_count >= 0),
  unread_pages integer[] not null default '{}',
  processing_status public.processing_status_enum not null default 'pending',
  processing_progress smallint not null default 0 check (processing_progress between 0 and 100),
  processing_error text,
  title varchar(500),
  description text,
  tags text[] default '{}',
  category varchar(100),
  language varchar(10) default 'es',
  query_count integer not null default 0,
  last_used_at timestamptz,
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  uploaded_by uuid not null,
  primary key (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, uploaded_by) references public.users (company_id, id),
  check ((processing_status = 'failed') = (processing_error is not null)),
  constraint documents_names_read_check check (
    private.reads_as_label(original_filename)
    and (title is null or private.reads_as_label(title)))
);
comment on column public.documents.chatbot_id is 'Null: shared by all bots of the company.';
comment on column public.documents.words is
  'The distinct words of the text in lower case, separated by spaces: words that end users type are repaired against them.';
comment on column public.documents.unread_pages is
  'Numbers of the pages without text, such as scanned images, which the bot does not know.';
comment on column public.documents.processing_error is
  'JSON {"code", "params"} of the error, shown in the reader''s language.';
comment on column public.documents.query_count is
  'Answers that have quoted the document, including answers erased since; exact after a drain (private.count_knowledge_uses).';
comment on column public.documents.last_used_at is
  'created_at of the newest answer that quoted the document; exact after a drain.';
create index documents_newest_idx on public.documents (company_id, created_at desc);
create index documents_chatbot_idx on public.documents (company_id, chatbot_id);
create index documents_uploaded_by_idx on public.documents (company_id, uploaded_by);
-- The same file twice for the same bot is a mistake, not more knowledge.
create unique index documents_content_key
  on public.documents (company_id, chatbot_id, content_digest) nulls not distinct
  where retired_at is null;
-- Punctuation in a file's name separates words.
create index documents_words_idx on public.documents using gin (
  company_id extensions.uuid_ops,
  (to_tsvector('private.spanish'::regconfig, coalesce(title, '') || ' ' || coalesce(description, '')
      || ' ' || translate(original_filename, '_-.', '   '))
    || to_tsvector('private.words'::regconfig, coalesce(title, '') || ' ' || coalesce(description, '')
      || ' ' || translate(original_filename, '_-.', '   '))));

alter table public.documents enable row level security, force row level security;
create policy staff_select on public.documents for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy staff_insert on public.documents for insert to authenticated
  with check (company_id = (select private.company_id('documents.edit'))
    and uploaded_by = (select private.user_id()));
create policy staff_update on public.documents for update to authenticated
  using (company_id = (select private.company_id('documents.edit')))
  with check (company_id = (select private.company_id('documents.edit')));
create policy worker_select on public.documents for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_update on public.documents for update to neurant_worker
  using (company_id = (select private.company_id()))
  with check (company_id = (select private.company_id()));
create policy router_select on public.documents for select to neurant_router using (true);
create policy router_update on public.documents for update to neurant_router using (true) with check (true);
grant select on public.documents to authenticated, neurant_worker, neurant_router;
grant insert (company_id, id, chatbot_id, filename, original_filename, file_type, file_size_bytes,
  file_url, content_digest, title, description, tags, category, language, uploaded_by) on
  public.documents to authenticated;
grant update (chatbot_id, title, description, tags, category, language, retired_at) on
  public.documents to authenticated;
grant update (extracted_text, words, character_count, chunk_count, unread_pages,
  processing_status, processing_progress, processing_error, title) on public.documents to neurant_worker;
grant update (query_count, last_used_at) on public.documents to neurant_router;

select private.audit_table('public.documents', 'uploaded_by',
  '{chatbot_id,file_type,file_size_bytes,retired_at,uploaded_by}',
  '{filename,original_filename,file_url,title,description,tags,category,language}',
  '{content_digest}',
  '{extracted_text,words,character_count,chunk_count,unread_pages,processing_status,
    processing_progress,processing_error,query_count,last_used_at,created_at,updated_at}');

-- The use of a document is no edit.
create trigger set_updated_at before update on public.documents
  for each row when ((old.query_count, old.last_used_at)
    is not distinct from (new.query_count, new.last_used_at))
  execute function private.update_updated_at_column();

create trigger keep_document_use
  after insert or delete or update of retired_at, character_count, file_size_bytes on public.documents
  for each row execute function private.count_document();

create table public.document_chunks (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  document_id uuid not null,
  content text not null check (content <> ''),
  chunk_index integer not null check (chunk_index >= 0),
  character_count integer not null,
  embedding extensions.vector storage main,
  embedding_model text,
  embedding_dimensions smallint generated always as (extensions.vector_dims(embedding)) stored,
  page_number integer check (page_number > 0),
  section_title varchar(500),
  context_before text,
  context_after text,
  match_count integer not null default 0,
  last_matched_at timestamptz,
  search tsvector storage main generated always as (
    to_tsvector('private.spanish'::regconfig, coalesce(section_title, '') || ' ' || content)) stored,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, document_id, chunk_index),
  foreign key (company_id, document_id) references public.documents (company_id, id),
  foreign key (embedding_model, embedding_dimensions)
    references public.embedding_models (name, dimensions),
  check ((embedding is null) = (embedding_model is null)),
  check (character_count = char_length(content))
);
comment on column public.document_chunks.match_count is
  'Answers that have quoted the passage, including answers erased since; exact after a drain (private.count_knowledge_uses).';
comment on column public.document_chunks.last_matched_at is
  'created_at of the newest answer that quoted the passage; exact after a drain.';
create index document_chunks_model_idx
  on public.document_chunks (embedding_model, embedding_dimensions);
-- The words of the chunks with their company in the index, so that a search reads no other
-- company's entries.
create index document_chunks_words_idx on public.document_chunks using gin (company_id extensions.uuid_ops, search);

alter table public.document_chunks enable row level security, force row level security;
create policy staff_select on public.document_chunks for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy worker_select on public.document_chunks for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_insert on public.document_chunks for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy worker_delete on public.document_chunks for delete to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.document_chunks for select to neurant_router using (true);
create policy router_update on public.document_chunks for update to neurant_router using (true) with check (true);
grant select on public.document_chunks to authenticated, neurant_router;
grant select, delete on public.document_chunks to neurant_worker;
grant insert (company_id, document_id, content, chunk_index, character_count, embedding,
  embedding_model, page_number, section_title, context_before, context_after) on
  public.document_chunks to neurant_worker;
grant update (match_count, last_matched_at) on public.document_chunks to neurant_router;

create table public.knowledge_queries (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid,
  message_id uuid,
  query_text text not null,
  query_embedding extensions.vector,
  results_count integer not null default 0,
  top_similarity_score decimal(5, 4),
  confidence decimal(4, 3) check (confidence between 0 and 1),
  processing_time_ms integer,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id),
  foreign key (company_id, message_id) references public.messages (company_id, id)
);
comment on column public.knowledge_queries.confidence is
  'The probability that the best passage answers: also where it was too low to answer; null: there was nothing to compare.';
create index knowledge_queries_conversation_idx
  on public.knowledge_queries (company_id, conversation_id);
create index knowledge_queries_message_idx on public.knowledge_queries (company_id, message_id);
create index knowledge_queries_newest_idx on public.knowledge_queries (company_id, created_at desc);

alter table public.knowledge_queries enable row level security, force row level security;
create policy staff_select on public.knowledge_queries for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy worker_insert on public.knowledge_queries for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy router_select on public.knowledge_queries for select to neurant_router using (true);
create policy router_insert on public.knowledge_queries for insert to neurant_router with check (true);
create policy router_update on public.knowledge_queries for update to neurant_router using (true) with check (true);
create policy router_delete on public.knowledge_queries for delete to neurant_router using (true);
grant select on public.knowledge_queries to authenticated;
grant insert (company_id, conversation_id, message_id, query_text, query_embedding, results_count,
  top_similarity_score, confidence, processing_time_ms) on public.knowledge_queries to
  neurant_worker;
grant select, insert, delete on public.knowledge_queries to neurant_router;
grant update (query_text, query_embedding) on public.knowledge_queries to neurant_router;

create table public.knowledge_uses (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  document_ids jsonb not null,
  chunk_ids jsonb not null,
  used_at timestamptz not null,
  primary key (company_id, id)
);
comment on table public.knowledge_uses is
  'One row for each answer that quotes documents, until private.count_knowledge_uses has counted it. The table has no foreign keys, because its rows may outlive the documents that they name.';

alter table public.knowledge_uses enable row level security, force row level security;
create policy router_select on public.knowledge_uses for select to neurant_router using (true);
create policy router_insert on public.knowledge_uses for insert to neurant_router with check (true);
create policy router_delete on public.knowledge_uses for delete to neurant_router using (true);
grant select, insert, delete on public.knowledge_uses to neurant_router;

create function private.search_chunks(
  p_chatbot uuid, p_query text, p_embedding extensions.vector, p_model text, p_limit integer)
returns table (chunk_id uuid, similarity double precision, lexical double precision)
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_generic_plan' as $$
declare
  v_company uuid := private.company_id('documents.read');
  v_documents uuid[];
  v_query tsquery;
begin
  select array_agg(d.id) into v_documents
  from public.documents d
  where d.company_id = v_company and d.retired_at is null and d.processing_status = 'completed'
    and (d.chatbot_id is null or d.chatbot_id = p_chatbot);
  -- Any of the words: with all of them, most questions find nothing.
  select string_agg(private.quoted_word(lexeme), ' | ')::tsquery into v_query
  from unnest(to_tsvector('private.spanish'::regconfig, p_query));
  return query
  with dense as (
    select c.id, c.embedding operator(extensions.<=>) p_embedding as distance
    from public.document_chunks c
    where p_embedding is not null and c.company_id = v_company
      and c.document_id = any (v_documents) and c.embedding_model = p_model
    order by distance
    limit p_limit
  ),
  sparse as (
    select c.id, ts_rank(c.search, v_query, 1)::double precision as lexical
    from public.document_chunks c
    where c.company_id = v_company and c.search @@ v_query and c.document_id = any (v_documents)
    order by lexical desc
    limit p_limit
  )
  select coalesce(dense.id, sparse.id), 1 - dense.distance, sparse.lexical
  from dense full join sparse on sparse.id = dense.id;
end $$;
comment on function private.search_chunks(uuid, text, extensions.vector, text, integer) is
  'Finds the nearest chunks of the caller''s company by meaning and by words. Returns ids and scores; the caller reads the rows under its own policies. Security definer, called by staff and API keys and the worker for one company, because under row level security neither the full text index nor a vector index could be used.';
grant execute on function private.search_chunks(uuid, text, extensions.vector, text, integer) to
  authenticated, neurant_worker;

create function private.search_documents(p_words text) returns table (document_id uuid)
language plpgsql stable security definer set search_path = '' as $$
begin
  -- Dynamic, so that each search is planned for its own words.
  return query execute $query$
    select d.id from public.documents d
    where d.company_id = $1
      and (to_tsvector('private.spanish'::regconfig, coalesce(d.title, '') || ' '
          || coalesce(d.description, '') || ' ' || translate(d.original_filename, '_-.', '   '))
        || to_tsvector('private.words'::regconfig, coalesce(d.title, '') || ' '
          || coalesce(d.description, '') || ' ' || translate(d.original_filename, '_-.', '   ')))
        @@ $2
  $query$
  using private.company_id('documents.read'), private.typed_query(translate(p_words, '_-.', '   '), '');
end $$;
comment on function private.search_documents(text) is
  'Finds documents of the caller''s company by title, description and file name. Returns ids; the caller reads the rows under its own policies. Security definer, called by staff and API keys, because under row level security no text index could be used.';
grant execute on function private.search_documents(text) to authenticated;

create function private.place_knowledge_query() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  new.conversation_id := coalesce((
    select m.conversation_id from public.messages m
    where m.company_id = new.company_id and m.id = new.message_id), new.conversation_id);
  return new;
end $$;
comment on function private.place_knowledge_query() is
  'Sets the conversation of a query that a message caused to that of the message, so that both are archived together. Security definer, called by a trigger, because the caller may not see the message.';

create trigger place_knowledge_query before insert on public.knowledge_queries
  for each row when (new.message_id is not null)
  execute function private.place_knowledge_query();

create function private.note_knowledge_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.knowledge_uses (company_id, document_ids, chunk_ids, used_at)
  values (new.company_id, jsonb_path_query_array(new.knowledge_sources, '$[*].document_id'),
    jsonb_path_query_array(new.knowledge_sources, '$[*].chunk_id'), new.created_at);
  return new;
end $$;
comment on function private.note_knowledge_use() is
  'Notes which documents and passages an answer quotes. Security definer, called by a trigger, because no role may write counters directly.';

-- Its name makes it run before number_message: a message that already has its number is being
-- restored, and was counted when it was new.
create trigger note_knowledge_use before insert on public.messages
  for each row when (new.seq is null and new.sender_type = 'bot' and new.knowledge_sources <> '[]')
  execute function private.note_knowledge_use();

create function private.count_knowledge_uses(p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_taken integer;
begin
  -- One at a time: two that add to the same documents in different orders would block each other.
  if not pg_try_advisory_xact_lock(hashtextextended('private.count_knowledge_uses', 0)) then
    return 0;
  end if;
  with taken as (
    delete from public.knowledge_uses u
    where u.ctid = any (array(select o.ctid from public.knowledge_uses o limit p_limit))
    returning u.company_id, u.id, u.document_ids, u.chunk_ids, u.used_at
  ),
  document as (
    select t.company_id, e.value::uuid as id, count(distinct t.id) as uses, max(t.used_at) as used_at
    from taken t cross join lateral jsonb_array_elements_text(t.document_ids) e
    where pg_input_is_valid(e.value, 'uuid')
    group by t.company_id, e.value::uuid
  ),
  chunk as (
    select t.company_id, e.value::uuid as id, count(distinct t.id) as uses, max(t.used_at) as used_at
    from taken t cross join lateral jsonb_array_elements_text(t.chunk_ids) e
    where pg_input_is_valid(e.value, 'uuid')
    group by t.company_id, e.value::uuid
  ),
  documents_counted as (
    update public.documents d
    set query_count = d.query_count + u.uses, last_used_at = greatest(d.last_used_at, u.used_at)
    from document u
    where d.company_id = u.company_id and d.id = u.id
  ),
  chunks_counted as (
    update public.document_chunks c
    set match_count = c.match_count + u.uses,
      last_matched_at = greatest(c.last_matched_at, u.used_at)
    from chunk u
    where c.company_id = u.company_id and c.id = u.id
  )
  select count(*) into v_taken from taken;
  return v_taken;
end $$;
comment on function private.count_knowledge_uses(integer) is
  'Adds at most p_limit answers to the counters of the documents and passages that they quote. Returns the number (0 as well while another call counts: an advisory lock admits one, because two that lock the same documents in different orders would deadlock). Security definer, called by the worker process, because no role may write counters directly.';
grant execute on function private.count_knowledge_uses(integer) to neurant_jobs;

-- 53_message_search.sql --------------------------------------------------------------------------
-- Search in messages and conversations.

create table public.message_changes (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  message_created_at timestamptz not null,
  primary key (company_id, id)
);
comment on table public.message_changes is
  'The log of changed messages: the transaction that changes a message appends to it, the worker drains it. Data derived from messages lags behind by exactly this log. It has no foreign keys, because its rows may outlive the messages that they name.';

alter table public.message_changes enable row level security, force row level security;
create policy router_select on public.message_changes for select to neurant_router using (true);
create policy router_insert on public.message_changes for insert to neurant_router with check (true);
create policy router_delete on public.message_changes for delete to neurant_router using (true);
grant select, insert, delete on public.message_changes to neurant_router;

create table public.message_search (
  company_id uuid not null,
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  search tsvector not null,
  primary key (company_id, message_id),
  foreign key (company_id, message_id) references public.messages (company_id, id) on delete cascade
);
comment on table public.message_search is
  'The words of a message, drained from message_changes. It is a table of its own so that storing a message does not wait for its words. Its rows are deleted together with the message.';
create index message_search_words_idx on public.message_search using gin (search);

alter table public.message_search enable row level security, force row level security;
create policy router_select on public.message_search for select to neurant_router using (true);
create policy router_insert on public.message_search for insert to neurant_router with check (true);
create policy router_update on public.message_search for update to neurant_router using (true) with check (true);
create policy router_delete on public.message_search for delete to neurant_router using (true);
grant select, insert, delete on public.message_search to neurant_router;
grant update (search) on public.message_search to neurant_router;

create table public.conversation_search (
  company_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  person text not null,
  primary key (company_id, conversation_id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id) on delete cascade
);
comment on table public.conversation_search is
  'The customer of a conversation, drained from message_changes: name, number or channel name, folded.';
create index conversation_search_person_idx on public.conversation_search
  using gin (company_id extensions.uuid_ops, person extensions.gin_trgm_ops);

alter table public.conversation_search enable row level security, force row level security;
create policy router_select on public.conversation_search for select to neurant_router using (true);
create policy router_insert on public.conversation_search for insert to neurant_router with check (true);
create policy router_update on public.conversation_search for update to neurant_router using (true) with check (true);
create policy router_delete on public.conversation_search for delete to neurant_router using (true);
grant select, insert, delete on public.conversation_search to neurant_router;
grant update (person) on public.conversation_search to neurant_router;

create function private.note_message_changes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.message_changes
    (company_id, message_id, conversation_id, chatbot_id, message_created_at)
  select c.company_id, c.id, c.conversation_id, c.chatbot_id, c.created_at from changed c;
  return null;
end $$;
comment on function private.note_message_changes() is
  'Appends new and deleted messages to the log. Security definer, called by a trigger, because a writer of messages may not see the log.';

create trigger note_inserted_messages after insert on public.messages
  referencing new table as changed
  for each statement execute function private.note_message_changes();

create trigger note_deleted_messages after delete on public.messages
  referencing old table as changed
  for each statement execute function private.note_message_changes();

create function private.note_message_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.message_changes
    (company_id, message_id, conversation_id, chatbot_id, message_created_at)
  values (old.company_id, old.id, old.conversation_id, old.chatbot_id, old.created_at),
    (new.company_id, new.id, new.conversation_id, new.chatbot_id, new.created_at);
  return null;
end $$;
comment on function private.note_message_edit() is
  'Appends the old and the new place of an edited message to the log. Security definer, called by a trigger, because a writer of messages may not see the log.';

-- Changes of the delivery status are frequent and do not affect search and statistics.
create trigger note_edited_messages
  after update of content, sender_type, created_at, tokens_used, processing_time_ms on public.messages
  for each row when (old.content is distinct from new.content
    or old.sender_type is distinct from new.sender_type
    or old.created_at is distinct from new.created_at
    or old.tokens_used is distinct from new.tokens_used
    or old.processing_time_ms is distinct from new.processing_time_ms)
  execute function private.note_message_edit();

create function private.fold(p_text text) returns text
language sql immutable parallel safe set search_path = '' as $$
  select lower(extensions.unaccent('extensions.unaccent'::regdictionary, p_text))
$$;
comment on function private.fold(text) is 'Returns a text in lower case and without accents.';
grant execute on function private.fold(text) to authenticated, neurant_router;

-- These two functions run for every message, where pinning a search_path would cost more than their
-- work. They name every object with its schema, and only definers, whose own path is pinned, may
-- call them.
create function private.word_key(p_company uuid) returns text
language sql immutable parallel safe set search_path = '' as $$
  select encode(substring(uuid_send(p_company) from 14), 'base64')
$$;
comment on function private.word_key(uuid) is
  'Returns four letters that start each of a company''s words in the index, so that a search reads its own company''s entries. Two companies may share them; therefore rows are compared by company_id as well.';
grant execute on function private.word_key(uuid) to neurant_router;

-- The company's key is computed inline: with a pinned path, a call of private.word_key could not be
-- inlined and would be made for each message (5 µs of 100).
create function private.message_words(p_company uuid, p_content text) returns tsvector
language sql immutable parallel safe set search_path = '' as $$
  select array_to_tsvector(array(
    select k.key || left(w.word, 100)
    from (select encode(substring(uuid_send(p_company) from 14), 'base64')) as k (key)
    cross join unnest(
      tsvector_to_array(to_tsvector('private.spanish'::regconfig, p_content))
      || tsvector_to_array(to_tsvector('private.words'::regconfig, p_content))) as w (word)))
$$;
comment on function private.message_words(uuid, text) is
  'Returns the words that a message is found by: Spanish stems and whole words without accents, each after the company''s key (private.word_key).';
grant execute on function private.message_words(uuid, text) to neurant_router;

create function private.quoted_word(p_word text) returns text
language sql immutable parallel safe set search_path = '' as $$
  select '''' || replace(replace(p_word, '\', '\\'), '''', '''''') || ''''
$$;
comment on function private.quoted_word(text) is
  'Returns a word quoted for the text form of a tsquery.';
grant execute on function private.quoted_word(text) to neurant_router;

create function private.all_stems(p_words text, p_key text) returns tsquery
language sql immutable parallel safe set search_path = '' as $$
  select string_agg(private.quoted_word(p_key || left(w, 100)), ' & ')::tsquery
  from unnest(tsvector_to_array(to_tsvector('private.spanish'::regconfig, p_words))) w
$$;
comment on function private.all_stems(text, text) is
  'Returns a query for all of the words, by their stems. Null if there are only stop words.';
grant execute on function private.all_stems(text, text) to neurant_router;

create function private.typed_query(p_words text, p_key text) returns tsquery
language plpgsql immutable parallel safe set search_path = '' as $$
declare
  v_words text := left(p_words, 200);
  v_begun text;
  v_last tsquery;
  v_query tsquery;
begin
  select t.token into v_begun
  from ts_parse('default', v_words) with ordinality as t (kind, token, place)
  order by t.place desc limit 1;
  if v_begun !~ '\w' or right(v_words, char_length(v_begun)) <> v_begun then
    v_begun := '';  -- a blank or a sign: the words are finished
  end if;
  v_query := private.all_stems(left(v_words, char_length(v_words) - char_length(v_begun)), p_key);
  if v_begun <> '' then
    v_last := (private.quoted_word(p_key || left(private.fold(v_begun), 100)) || ':*')::tsquery;
    v_last := coalesce(v_last || private.all_stems(v_begun, p_key), v_last);
  end if;
  return coalesce(v_query && v_last, v_query, v_last);
end $$;
comment on function private.typed_query(text, text) is
  'Returns a query for a text that is still being typed: all words by their stems, the last one also as the beginning of a word. Null if it contains no word. p_key: private.word_key() or nothing.';
grant execute on function private.typed_query(text, text) to neurant_router;

create function private.person_words(p_name text, p_end_user text, p_channel public.conversation_channel_enum)
returns text
language sql immutable parallel safe set search_path = '' as $$
  select private.fold(coalesce(p_name, '') || ' '
    -- Of a web visitor's id, staff see the last four letters.
    || case p_channel when 'web' then right(p_end_user, 4) else p_end_user end)
$$;
comment on function private.person_words(text, text, public.conversation_channel_enum) is
  'Returns the words that a customer is found by: the name, and the number or name on the channel.';
grant execute on function private.person_words(text, text, public.conversation_channel_enum) to
  authenticated, neurant_router;

create function private.like_patterns(p_words text) returns text[]
language sql immutable parallel safe set search_path = '' as $$
  select array_agg('%' || replace(replace(replace(w, '\', '\\'), '%', '\%'), '_', '\_') || '%'
    order by char_length(w) desc)
  from regexp_split_to_table(private.fold(left(p_words, 200)), '\s+') w
  where w <> ''
$$;
comment on function private.like_patterns(text) is
  'Returns a LIKE pattern for each word, the longest first, since that one narrows an index down most. Null if there is no word.';
grant execute on function private.like_patterns(text) to authenticated, neurant_router;

create function private.drain_message_changes(p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_taken integer;
begin
  -- One at a time: of two, the one that read a message before its edit could write last.
  if not pg_try_advisory_xact_lock(hashtextextended('private.drain_message_changes', 0)) then
    return 0;
  end if;
  with batch as (
    delete from public.message_changes x
    where x.ctid = any (array(select y.ctid from public.message_changes y limit p_limit))
    returning x.company_id, x.message_id, x.conversation_id
  ),
  current as materialized (
    select m.*
    from (select distinct b.company_id, b.message_id from batch b) x
    -- Row by row through the key: a batch is small, and the tables are not.
    cross join lateral (
      select m.company_id, m.id, m.conversation_id, m.chatbot_id, m.sender_type, m.content
      from public.messages m
      where m.company_id = x.company_id and m.id = x.message_id limit 1) m
  ),
  said as (
    insert into public.message_search as s
      (company_id, message_id, conversation_id, chatbot_id, search)
    select m.company_id, m.id, m.conversation_id, m.chatbot_id,
      private.message_words(m.company_id, m.content)
    from current m
    where m.sender_type <> 'system'
    on conflict on constraint message_search_pkey do update set search = excluded.search
    where s.search <> excluded.search
  ),
  unsaid as (
    delete from public.message_search s
    using current m
    where m.sender_type = 'system' and s.company_id = m.company_id and s.message_id = m.id
  ),
  people as (
    insert into public.conversation_search as s (company_id, conversation_id, chatbot_id, person)
    select c.company_id, c.id, c.chatbot_id,
      private.person_words(c.end_user_name, c.end_user_id, c.channel)
    from (select distinct b.company_id, b.conversation_id from batch b) x
    cross join lateral (
      select c.company_id, c.id, c.chatbot_id, c.end_user_name, c.end_user_id, c.channel
      from public.conversations c
      where c.company_id = x.company_id and c.id = x.conversation_id limit 1) c
    on conflict on constraint conversation_search_pkey do update set person = excluded.person
    where s.person <> excluded.person
  )
  select count(*) into v_taken from batch;
  return v_taken;
end $$;
comment on function private.drain_message_changes(integer) is
  'Updates the data derived from messages for at most p_limit entries of the log. Returns the number of entries removed (0 as well while another call drains: an advisory lock admits one, because of two the one that read a message before its edit could write last). Security definer, called by the worker process, because the log holds all companies, and no role may write the derived tables directly.';
grant execute on function private.drain_message_changes(integer) to neurant_jobs;

-- Prepared statements, and without the log's half when the log has nothing of the company: planning
-- the query for each search took longer than most searches.
create function private.search_conversations(p_words text)
returns table (conversation_id uuid)
language plpgsql stable security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.read');
  v_all boolean := private.sees_all_chatbots();
  v_bots uuid[];
  v_mine uuid[];
  v_query tsquery;
  v_person text[];
begin
  if v_company is null then
    return;
  end if;
  if not v_all then
    v_bots := private.my_chatbot_ids();
    v_mine := private.my_conversation_ids();
  end if;
  v_query := private.typed_query(p_words, private.word_key(v_company));
  v_person := private.like_patterns(p_words);
  if not exists (select from public.message_changes x where x.company_id = v_company) then
    return query
    select s.conversation_id from public.message_search s
    where s.company_id = v_company and s.search @@ v_query
      and (v_all or s.chatbot_id = any (v_bots) or s.conversation_id = any (v_mine))
    union
    select s.conversation_id from public.conversation_search s
    where s.company_id = v_company and s.person like v_person[1] and s.person like all (v_person)
      and (v_all or s.chatbot_id = any (v_bots) or s.conversation_id = any (v_mine));
    return;
  end if;
  return query
  with pending as materialized (
    select distinct x.message_id, x.conversation_id from public.message_changes x
    where x.company_id = v_company
  ),
  found as (
    select s.conversation_id, s.chatbot_id from public.message_search s
    where s.company_id = v_company and s.search @@ v_query
      and not exists (select from pending p where p.message_id = s.message_id)
    union
    select m.conversation_id, m.chatbot_id
    from (select distinct p.message_id from pending p) p
    join public.messages m on m.company_id = v_company and m.id = p.message_id
    where m.sender_type <> 'system' and private.message_words(v_company, m.content) @@ v_query
    union
    select s.conversation_id, s.chatbot_id from public.conversation_search s
    where s.company_id = v_company and s.person like v_person[1] and s.person like all (v_person)
      and not exists (select from pending p where p.conversation_id = s.conversation_id)
    union
    select c.id, c.chatbot_id
    from (select distinct p.conversation_id from pending p) p
    join public.conversations c on c.company_id = v_company and c.id = p.conversation_id
    where private.person_words(c.end_user_name, c.end_user_id, c.channel) like all (v_person)
  )
  select f.conversation_id from found f
  where v_all or f.chatbot_id = any (v_bots) or f.conversation_id = any (v_mine);
end $$;
comment on function private.search_conversations(text) is
  'Finds the conversations within the caller''s company and scope whose messages or customer contain the words. Returns ids; the caller reads the rows under its own policies. Messages that are not drained yet are searched as well. Security definer, called by staff and API keys, because under row level security no text index could be used.';
grant execute on function private.search_conversations(text) to authenticated;

-- 54_integrations.sql ----------------------------------------------------------------------------
-- Integrations and webhooks of a company.

create table public.integrations (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  name varchar(255) not null check (btrim(name) <> ''),
  integration_type public.integration_type_enum not null,
  description text,
  -- Only an envelope sealed under the company's key is accepted.
  config jsonb not null default '{}' check (
    config = '{}' or config - 'sealed' = '{}' and jsonb_typeof(config -> 'sealed') = 'string'),
  settings jsonb default '{}' check (jsonb_typeof(settings) = 'object'),
  auth_type public.auth_type_enum not null default 'api_key',
  oauth_token_encrypted text,
  api_key_encrypted text,
  expires_at timestamptz,
  is_active boolean not null default true,
  last_sync_at timestamptz,
  last_error text,
  sync_status public.sync_status_enum not null default 'pending',
  total_requests integer not null default 0 check (total_requests >= 0),
  successful_requests integer not null default 0 check (successful_requests >= 0),
  failed_requests integer not null default 0 check (failed_requests >= 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid not null,
  primary key (company_id, id),
  unique (company_id, name),
  foreign key (company_id, created_by) references public.users (company_id, id),
  check (total_requests = successful_requests + failed_requests),
  constraint integrations_name_reads_check
    check (private.reads_as_label(name))
);
comment on column public.integrations.config is
  'Addresses and keys, sealed by the company''s key: {"sealed": "<base64>"}. Never in clear.';
create index integrations_created_by_idx on public.integrations (company_id, created_by);

alter table public.integrations enable row level security, force row level security;
create policy staff_select on public.integrations for select to authenticated
  using (company_id = (select private.company_id('integrations.read')));
create policy staff_insert on public.integrations for insert to authenticated
  with check (company_id = (select private.company_id('integrations.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.integrations for update to authenticated
  using (company_id = (select private.company_id('integrations.manage')))
  with check (company_id = (select private.company_id('integrations.manage')));
create policy staff_delete on public.integrations for delete to authenticated
  using (company_id = (select private.company_id('integrations.manage')));
create policy worker_select on public.integrations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.integrations for select to neurant_router using (true);
create policy router_update on public.integrations for update to neurant_router using (true) with check (true);
grant delete on public.integrations to authenticated;
grant select (company_id, id, name, integration_type, description, settings, auth_type,
  expires_at, is_active, last_sync_at, last_error, sync_status, total_requests,
  successful_requests, failed_requests, created_at, updated_at, created_by) on public.integrations
  to authenticated;
grant insert (company_id, id, name, integration_type, description, config, settings, auth_type,
  oauth_token_encrypted, api_key_encrypted, expires_at, created_by) on public.integrations to
  authenticated;
grant update (name, description, config, settings, auth_type, oauth_token_encrypted,
  api_key_encrypted, expires_at, is_active) on public.integrations to authenticated;
grant select on public.integrations to neurant_worker, neurant_router;
grant update (last_error, total_requests, successful_requests, failed_requests) on
  public.integrations to neurant_router;

select private.audit_table('public.integrations', 'id',
  '{integration_type,auth_type,expires_at,is_active,last_sync_at,sync_status,created_by}',
  '{name,description,settings}',
  '{config,oauth_token_encrypted,api_key_encrypted}',
  '{last_error,total_requests,successful_requests,failed_requests,created_at,updated_at}');

create trigger set_updated_at before update on public.integrations
  for each row execute function private.update_updated_at_column();

create trigger keep_integration_count
  after insert or delete or update of is_active on public.integrations
  for each row execute function private.count_integration();

create table public.integration_logs (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  integration_id uuid not null,
  request_type varchar(50) not null,
  endpoint varchar(500) not null,
  request_data jsonb,
  response_status integer,
  response_data jsonb,
  response_time_ms integer check (response_time_ms >= 0),
  triggered_by_message_id uuid,
  triggered_by_user_id uuid,
  status public.integration_log_status_enum not null default 'success',
  error_message text,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, triggered_by_user_id) references public.users (company_id, id),
  constraint integration_logs_company_id_integration_id_fkey
    foreign key (company_id, integration_id) references public.integrations (company_id, id)
    on delete cascade
);
comment on column public.integration_logs.triggered_by_message_id is
  'No foreign key, because the message may be archived long before the log is dropped.';
create index integration_logs_newest_idx
  on public.integration_logs (company_id, integration_id, created_at desc);
create index integration_logs_user_idx on public.integration_logs (company_id, triggered_by_user_id)
  where triggered_by_user_id is not null;

alter table public.integration_logs enable row level security, force row level security;
create policy staff_select on public.integration_logs for select to authenticated
  using (company_id = (select private.company_id('integrations.read')));
create policy worker_insert on public.integration_logs for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy router_select on public.integration_logs for select to neurant_router using (true);
create policy router_update on public.integration_logs for update to neurant_router using (true) with check (true);
grant select on public.integration_logs to authenticated, neurant_router;
grant insert (company_id, integration_id, request_type, endpoint, request_data, response_status,
  response_data, response_time_ms, triggered_by_message_id, triggered_by_user_id, status,
  error_message) on public.integration_logs to neurant_worker;
grant update (request_data, response_data, error_message) on public.integration_logs to
  neurant_router;

create table public.webhook_endpoints (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  url varchar(2000) not null check (url ~ '^https?://'),
  events text[] not null check (cardinality(events) > 0),
  secret_encrypted bytea not null,
  is_active boolean not null default true,
  created_by uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id)
);
create index webhook_endpoints_created_by_idx on public.webhook_endpoints (company_id, created_by);

alter table public.webhook_endpoints enable row level security, force row level security;
create policy staff_select on public.webhook_endpoints for select to authenticated
  using (company_id = (select private.company_id('webhooks.read')));
create policy staff_insert on public.webhook_endpoints for insert to authenticated
  with check (company_id = (select private.company_id('webhooks.manage'))
    and created_by = (select private.user_id()));
create policy staff_update on public.webhook_endpoints for update to authenticated
  using (company_id = (select private.company_id('webhooks.manage')))
  with check (company_id = (select private.company_id('webhooks.manage')));
create policy staff_delete on public.webhook_endpoints for delete to authenticated
  using (company_id = (select private.company_id('webhooks.manage')));
grant delete on public.webhook_endpoints to authenticated;
grant select (company_id, id, url, events, is_active, created_by, created_at, updated_at) on
  public.webhook_endpoints to authenticated;
grant insert (company_id, id, url, events, secret_encrypted, created_by) on
  public.webhook_endpoints to authenticated;
grant update (url, events, secret_encrypted, is_active) on public.webhook_endpoints to
  authenticated;

select private.audit_table('public.webhook_endpoints', 'id',
  '{is_active,created_by}',
  '{url,events}',
  '{secret_encrypted}',
  '{created_at,updated_at}');

create trigger set_updated_at before update on public.webhook_endpoints
  for each row execute function private.update_updated_at_column();

create table public.webhook_deliveries (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  endpoint_id uuid not null,
  event text not null,
  payload jsonb not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  attempts integer not null default 0 check (attempts >= 0),
  due_at timestamptz not null default now(),
  response_status integer,
  last_error text,
  created_at timestamptz not null default now(),
  delivered_at timestamptz,
  primary key (company_id, id),
  check ((status = 'delivered') = (delivered_at is not null)),
  constraint webhook_deliveries_company_id_endpoint_id_fkey
    foreign key (company_id, endpoint_id) references public.webhook_endpoints (company_id, id)
    on delete cascade
);
create index webhook_deliveries_endpoint_idx
  on public.webhook_deliveries (company_id, endpoint_id, created_at desc);
create index webhook_deliveries_due_idx on public.webhook_deliveries (due_at) where status = 'pending';

alter table public.webhook_deliveries enable row level security, force row level security;
create policy staff_select on public.webhook_deliveries for select to authenticated
  using (company_id = (select private.company_id('webhooks.read')));
grant select on public.webhook_deliveries to authenticated;

create function private.count_integration_request() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.integrations i
  set total_requests = i.total_requests + 1,
    successful_requests = i.successful_requests + (new.status = 'success')::integer,
    failed_requests = i.failed_requests + (new.status <> 'success')::integer,
    last_error = case when new.status = 'success' then i.last_error else new.error_message end
  where i.company_id = new.company_id and i.id = new.integration_id;
  return null;
end $$;
comment on function private.count_integration_request() is
  'Maintains the counters of an integration from its log. Security definer, called by a trigger, because no role may write counters directly.';

create trigger count_integration_request after insert on public.integration_logs
  for each row execute function private.count_integration_request();

-- 55_notifications.sql ---------------------------------------------------------------------------
-- Notifications to people inside the console.

create table public.notifications (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  user_id uuid not null,
  kind text not null check (kind ~ '^[a-z_]{3,50}$'),
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object'),
  created_at timestamptz not null default now(),
  read_at timestamptz,
  mailed_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, user_id) references public.users (company_id, id),
  -- The mail of an alert states each of these; without one, the mails behind it would wait as well.
  constraint notifications_usage_alert check (
    kind <> 'usage_alert' or details ?& array['limit', 'level', 'used', 'allowed'])
);
comment on column public.notifications.kind is
  'A key of the message catalogue, shown in the reader''s language.';
comment on column public.notifications.mailed_at is
  'When the notification was also queued as a mail; null: it was not, and need not be.';
create index notifications_user_idx on public.notifications (company_id, user_id, created_at desc);
-- Finds notifications that are to be mailed without reading all others.
create index notifications_to_mail_idx on public.notifications (kind, created_at) where mailed_at is null;

alter table public.notifications enable row level security, force row level security;
create policy staff_select on public.notifications for select to authenticated
  using (company_id = (select private.company_id('notifications.read'))
    and user_id = (select private.user_id()));
create policy staff_update on public.notifications for update to authenticated
  using (company_id = (select private.company_id('profile.edit'))
    and user_id = (select private.user_id()))
  with check (company_id = (select private.company_id('profile.edit'))
    and user_id = (select private.user_id()));
create policy router_select on public.notifications for select to neurant_router using (true);
create policy router_insert on public.notifications for insert to neurant_router with check (true);
create policy router_update on public.notifications for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.notifications for delete to neurant_router using (true);
grant select on public.notifications to authenticated;
grant update (read_at) on public.notifications to authenticated;
grant select, insert, delete on public.notifications to neurant_router;
grant update (mailed_at) on public.notifications to neurant_router;

create function private.notify_users(
  p_company uuid, p_roles public.user_role_enum[], p_kind text, p_details jsonb)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.notifications (company_id, user_id, kind, details)
  select u.company_id, u.id, p_kind, p_details
  from public.users u
  where u.company_id = p_company and u.is_active and u.role = any (p_roles)
$$;
comment on function private.notify_users(uuid, public.user_role_enum[], text, jsonb) is
  'Notifies all users of these roles. Security definer, called by other definers only, because no role may write notifications directly.';

-- 56_mail.sql ------------------------------------------------------------------------------------
-- Mail: the queue of mails, and the addresses that refused mail.

create table public.mails (
  id uuid primary key,
  company_id uuid references public.companies (id),
  to_address text not null check (length(to_address) between 3 and 320 and to_address !~ '[[:space:][:cntrl:]]'),
  template text not null check (template ~ '^[a-z_]+\.[a-z_]+$'),
  language text not null check (language ~ '^[a-z]{2}$'),
  params_encrypted bytea,
  status text not null default 'pending' check (status in ('pending', 'sending', 'sent', 'failed')),
  attempts smallint not null default 0,
  unclear_ends smallint not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text check (length(last_error) <= 300),
  created_at timestamptz not null default now(),
  due_at timestamptz not null default now(),
  sent_at timestamptz,
  constraint mails_params_only_until_settled
    check ((params_encrypted is not null) = (status in ('pending', 'sending'))),
  constraint mails_claimed_while_sending check (
    (claim_token is not null) = (status = 'sending') and (claimed_until is not null) = (status = 'sending')),
  constraint mails_sent_at_when_sent check ((sent_at is not null) = (status = 'sent'))
);
comment on table public.mails is
  'A queue and, for 30 days, a record of the mails that were sent. company_id is null for a mail about a login, which belongs to no company.';
comment on column public.mails.id is
  'Chosen by the process before the row exists, because the parameters are sealed for this id.';
comment on column public.mails.unclear_ends is
  'How often an attempt ended without a known result (the server or the worker failed at the last step). After the second time there are no more attempts.';
create index mails_due_idx on public.mails (due_at) where status = 'pending';
create index mails_sending_idx on public.mails (claimed_until) where status = 'sending';
create index mails_settled_idx on public.mails (created_at) where status in ('sent', 'failed');
-- The newest mail to an address.
create index mails_to_address_idx on public.mails (company_id, to_address, created_at desc)
  where company_id is not null;
-- The invitations that an address received from any company.
create index mails_invitations_idx on public.mails (to_address, created_at)
where template in ('team.invitation', 'team.reminder');

alter table public.mails enable row level security, force row level security;
create policy router_select on public.mails for select to neurant_router using (true);
create policy router_insert on public.mails for insert to neurant_router with check (true);
create policy router_update on public.mails for update to neurant_router using (true) with check (true);
create policy router_delete on public.mails for delete to neurant_router using (true);
grant select, delete on public.mails to neurant_router;
grant insert (id, company_id, to_address, template, language, params_encrypted) on public.mails to
  neurant_router;
grant update (params_encrypted, status, attempts, unclear_ends, claim_token, claimed_until,
  last_error, due_at, sent_at) on public.mails to neurant_router;

create table public.mail_refusals (
  key_digest bytea primary key check (octet_length(key_digest) = 32),
  refused_at timestamptz not null default now()
);
comment on table public.mail_refusals is
  'Addresses that want no more invitations, as private.mail_key(''invitation'', address), so that no address is stored.';

alter table public.mail_refusals enable row level security, force row level security;
create policy router_select on public.mail_refusals for select to neurant_router using (true);
create policy router_insert on public.mail_refusals for insert to neurant_router with check (true);
create policy router_delete on public.mail_refusals for delete to neurant_router using (true);
grant select, insert, delete on public.mail_refusals to neurant_router;

create function private.queue_mail(
  p_new_id uuid, p_company uuid, p_to text, p_template text, p_language text,
  p_params_encrypted bytea) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if p_company is not null and current_setting('role') in ('authenticated', 'neurant_worker')
    and p_company is distinct from private.company_id()
  then
    raise exception 'mail is queued for one''s own company' using errcode = 'insufficient_privilege';
  end if;
  if p_template in ('team.invitation', 'team.reminder') then
    perform private.check_invitation_mail(p_company, p_to, p_template = 'team.reminder');
  end if;
  insert into public.mails (id, company_id, to_address, template, language, params_encrypted)
  values (p_new_id, p_company, p_to, p_template, p_language, p_params_encrypted);
end $$;
comment on function private.queue_mail(uuid, uuid, text, text, text, bytea) is
  'Queues a mail, which is sent when the caller''s transaction commits, and never if it does not. An invitation above the limits, or to an address that wants none, raises NA007 (private.check_invitation_mail). Security definer, called by staff and API keys, the worker for one company, the web process and the worker process, because no role that serves tenants may read waiting mails.';
grant execute on function private.queue_mail(uuid, uuid, text, text, text, bytea) to
  authenticated, neurant_worker, neurant_app, neurant_jobs;

create function private.settle_mail(
  p_mail uuid, p_token uuid, p_outcome text, p_error text default null,
  p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_mail public.mails;
  v_due timestamptz;
  v_status text;
begin
  select m.* into v_mail from public.mails m
  where m.id = p_mail and m.claim_token = p_token and m.status = 'sending' for update;
  if v_mail.id is null then
    return 'lost';
  end if;
  v_due := p_now + least(interval '30 seconds' * (4 ^ least(v_mail.attempts - 1, 5)), interval '2 hours');
  v_status := case
    when p_outcome = 'sent' then 'sent'
    when p_outcome = 'later' and v_due < v_mail.created_at + interval '1 day' then 'pending'
    when p_outcome = 'unclear' and v_mail.unclear_ends = 0 then 'pending'
    else 'failed' end;
  update public.mails m
  set status = v_status, claim_token = null, claimed_until = null,
    last_error = case when p_outcome <> 'sent' then left(p_error, 300) end,
    unclear_ends = m.unclear_ends + (p_outcome = 'unclear')::integer,
    due_at = case when v_status = 'pending' then v_due else m.due_at end,
    sent_at = case when v_status = 'sent' then p_now end,
    params_encrypted = case when v_status = 'pending' then m.params_encrypted end
  where m.id = p_mail;
  if v_status = 'failed' and v_mail.company_id is not null then
    perform private.notify_users(v_mail.company_id, '{owner,administrador}', 'mail_failed',
      jsonb_build_object('mail_id', p_mail, 'template', v_mail.template, 'to', v_mail.to_address));
  end if;
  return v_status;
end $$;
comment on function private.settle_mail(uuid, uuid, text, text, timestamptz) is
  'Records the result of an attempt (sent, later, unclear, refused). Outcome: sent, pending (retried after 30 seconds, then four times as long each time up to two hours, for a day; once after an unclear result), failed (owner and administradores of the company are notified), or lost (another worker holds it). Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.settle_mail(uuid, uuid, text, text, timestamptz) to
  neurant_jobs;

create function private.claim_mails(
  p_most integer, p_lease interval, p_now timestamptz default now())
returns table (
  mail_id uuid, to_address text, template text, language text, params_encrypted bytea,
  created_at timestamptz, claim_token uuid)
language plpgsql security definer set search_path = '' as $$
begin
  -- Whose worker died may have left: that counts as an unclear end.
  perform private.settle_mail(m.id, m.claim_token, 'unclear', 'worker lost', p_now)
  from (
    select d.id, d.claim_token from public.mails d
    where d.status = 'sending' and d.claimed_until <= p_now
    for update skip locked) m;
  return query
  with due as (
    select d.id from public.mails d
    where d.status = 'pending' and d.due_at <= p_now
    order by d.due_at limit p_most
    for update skip locked
  )
  update public.mails m
  set status = 'sending', attempts = least(m.attempts + 1, 1000), claim_token = gen_random_uuid(),
    claimed_until = p_now + p_lease
  from due
  where m.id = due.id
  returning m.id, m.to_address, m.template, m.language, m.params_encrypted, m.created_at,
    m.claim_token;
end $$;
comment on function private.claim_mails(integer, interval, timestamptz) is
  'Leases mails that are due to one worker. Security definer, called by the worker process, because it works on all companies; the parameters stay sealed.';
grant execute on function private.claim_mails(integer, interval, timestamptz) to neurant_jobs;

create function private.next_mail_due() returns timestamptz
language sql stable security definer set search_path = '' as $$
  select least(
    (select min(m.due_at) from public.mails m where m.status = 'pending'),
    (select min(m.claimed_until) from public.mails m where m.status = 'sending'))
$$;
comment on function private.next_mail_due() is
  'Returns when a mail is due next, or null. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.next_mail_due() to neurant_jobs;

create function private.drop_old_mails(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_gone integer;
begin
  delete from public.mails m
  where m.status in ('sent', 'failed') and m.created_at < p_now - interval '30 days';
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;
comment on function private.drop_old_mails(timestamptz) is
  'Deletes the mails that are older than 30 days; returns the number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.drop_old_mails(timestamptz) to neurant_jobs;

create function private.take_plan_mails(p_kinds text[], p_now timestamptz default now())
returns table (company_id uuid, company_name text, timezone text, to_address text, first_name text,
  kind text, details jsonb, language text)
language sql volatile security definer set search_path = '' as $$
  with due as (
    select n.company_id, n.id from public.notifications n
    where n.kind = any (p_kinds) and n.mailed_at is null
      and n.created_at between p_now - interval '1 day' and p_now
    order by n.created_at, n.id limit 50
    for update skip locked
  ),
  taken as (
    update public.notifications n set mailed_at = p_now
    from due where n.company_id = due.company_id and n.id = due.id
    returning n.company_id, n.user_id, n.kind, n.details
  )
  select t.company_id, c.name::text, c.timezone::text, u.email::text, u.first_name::text, t.kind,
    t.details, (
      select i.language from public.user_invitations i
      where i.company_id = u.company_id and i.accepted_by_user_id = u.id
      order by i.accepted_at desc limit 1)
  from taken t
  join public.companies c on c.id = t.company_id
  join public.users u on u.company_id = t.company_id and u.id = t.user_id and u.is_active
$$;
comment on function private.take_plan_mails(text[], timestamptz) is
  'Returns the notifications of these kinds that are not mails yet and not older than a day, to be queued as mails in the same transaction. language: that of the person''s invitation, if there was one. Security definer, called by the worker process, because it works on all companies, and no other role may read other people''s notifications.';
grant execute on function private.take_plan_mails(text[], timestamptz) to neurant_jobs;

-- 57_language_models.sql -------------------------------------------------------------------------
-- Language models: the endpoint that writes a company's answers, and what it has used.

create table public.language_models (
  company_id uuid primary key references public.companies (id),
  base_url varchar(500) check (base_url ~ '^https?://[^[:space:]/?#@]+(/[^[:space:]?#]*)?$'),
  model varchar(100) check (model ~ '^[!-~]+$'),
  api_key_encrypted bytea,
  has_api_key boolean not null generated always as (api_key_encrypted is not null) stored,
  timeout_seconds smallint not null default 10 check (timeout_seconds between 1 and 15),
  max_tokens integer not null default 500 check (max_tokens between 50 and 4000),
  monthly_tokens bigint check (monthly_tokens >= 0),
  monthly_cost numeric(12, 2) check (monthly_cost >= 0),
  input_price numeric(12, 4) not null default 0 check (input_price >= 0),
  output_price numeric(12, 4) not null default 0 check (output_price >= 0),
  currency varchar(3) not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
  is_active boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint language_models_active_check
    check (not is_active or base_url is not null and model is not null)
);
comment on table public.language_models is
  'The OpenAI-compatible endpoint that writes a company''s answers. Without a row the company uses the platform''s model, if the host has set one; a row that is not active turns language models off.';
comment on column public.language_models.api_key_encrypted is
  'Sealed under the company''s key. Null: the endpoint needs no key. No role that serves people reads it.';
comment on column public.language_models.timeout_seconds is
  'The longest time for one answer with all retries. It is shorter than the lease of a reply (20 seconds), so that a reply whose model is slow is still written.';
comment on column public.language_models.max_tokens is
  'The maximum length of one answer.';
comment on column public.language_models.monthly_tokens is
  'The budget of a calendar month in tokens, input and output together. Null: no limit. A call that began before the budget was used up ends.';
comment on column public.language_models.monthly_cost is
  'The budget of a calendar month in money, in the currency of the prices. Null: no limit.';
comment on column public.language_models.input_price is
  'The price of a million input tokens.';
comment on column public.language_models.output_price is
  'The price of a million output tokens.';

alter table public.language_models enable row level security, force row level security;
create policy staff_select on public.language_models for select to authenticated
  using (company_id = (select private.company_id('language_models.read')));
create policy staff_insert on public.language_models for insert to authenticated
  with check (company_id = (select private.company_id('language_models.manage')));
create policy staff_update on public.language_models for update to authenticated
  using (company_id = (select private.company_id('language_models.manage')))
  with check (company_id = (select private.company_id('language_models.manage')));
create policy staff_delete on public.language_models for delete to authenticated
  using (company_id = (select private.company_id('language_models.manage')));
create policy router_select on public.language_models for select to neurant_router using (true);
grant delete on public.language_models to authenticated;
grant select (company_id, base_url, model, has_api_key, timeout_seconds, max_tokens,
  monthly_tokens, monthly_cost, input_price, output_price, currency, is_active, created_at,
  updated_at) on public.language_models to authenticated;
grant insert (company_id, base_url, model, api_key_encrypted, timeout_seconds, max_tokens,
  monthly_tokens, monthly_cost, input_price, output_price, currency, is_active) on
  public.language_models to authenticated;
grant update (base_url, model, api_key_encrypted, timeout_seconds, max_tokens, monthly_tokens,
  monthly_cost, input_price, output_price, currency, is_active) on public.language_models to
  authenticated;
grant select on public.language_models to neurant_router;

select private.audit_table('public.language_models', 'company_id',
  '{timeout_seconds,monthly_cost,input_price,output_price,is_active}',
  '{base_url,model,currency}',
  '{api_key_encrypted,max_tokens,monthly_tokens}',
  '{has_api_key,created_at,updated_at}');

create trigger set_updated_at before update on public.language_models
  for each row execute function private.update_updated_at_column();

create function private.drop_moved_key() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.api_key_encrypted := null;
  return new;
end $$;
comment on function private.drop_moved_key() is
  'Deletes the key of an endpoint whose address changes without a new key: otherwise a person who may not read the key could have it sent to a server of their own.';

create trigger drop_moved_key before update of base_url on public.language_models
  for each row when (new.base_url is distinct from old.base_url
    and new.api_key_encrypted is not distinct from old.api_key_encrypted)
  execute function private.drop_moved_key();

create table public.language_model_usage (
  company_id uuid not null references public.companies (id),
  month date not null check (extract(day from month) = 1),
  is_platform boolean not null,
  model varchar(100) not null,
  currency varchar(3) not null check (currency ~ '^[A-Z]{3}$'),
  calls integer not null check (calls >= 0),
  fallbacks integer not null check (fallbacks >= 0),
  input_tokens bigint not null check (input_tokens >= 0),
  output_tokens bigint not null check (output_tokens >= 0),
  cost numeric(18, 6) not null check (cost >= 0),
  primary key (company_id, month, is_platform, model, currency)
);
comment on table public.language_model_usage is
  'What a company''s answers have used of language models, by calendar month (in the company''s time zone), model and currency. A reply is counted in the transaction that settles it, so it is counted once.';
comment on column public.language_model_usage.is_platform is
  'Whether the model was the platform''s: the host''s budget counts only these rows.';
comment on column public.language_model_usage.fallbacks is
  'Replies for which the quote of a document stood in, because the model failed, its answer had no support, or the budget was used up.';

alter table public.language_model_usage enable row level security, force row level security;
create policy staff_select on public.language_model_usage for select to authenticated
  using (company_id = (select private.company_id('language_models.read')));
create policy router_select on public.language_model_usage for select to neurant_router
  using (true);
create policy router_insert on public.language_model_usage for insert to neurant_router
  with check (true);
create policy router_update on public.language_model_usage for update to neurant_router
  using (true) with check (true);
grant select on public.language_model_usage to authenticated, neurant_router;
grant insert on public.language_model_usage to neurant_router;
grant update (calls, fallbacks, input_tokens, output_tokens, cost) on
  public.language_model_usage to neurant_router;

create function private.language_model(p_platform_currency text)
returns table (
  company_id uuid, is_configured boolean, is_active boolean, base_url text, model text,
  api_key_encrypted bytea, wrapped_key bytea, timeout_seconds integer, max_tokens integer,
  monthly_tokens bigint, monthly_cost numeric, input_price numeric, output_price numeric,
  currency text, used_tokens bigint, used_cost numeric)
language sql stable security definer set search_path = '' as $$
  select c.id, m.company_id is not null, coalesce(m.is_active, false), m.base_url, m.model,
    m.api_key_encrypted, k.wrapped_key, m.timeout_seconds, m.max_tokens, m.monthly_tokens,
    m.monthly_cost, m.input_price, m.output_price, m.currency, used.tokens, used.cost
  from public.companies c
  left join public.language_models m on m.company_id = c.id
  left join public.company_keys k on k.company_id = c.id and m.api_key_encrypted is not null
  cross join lateral (
    select coalesce(sum(u.input_tokens + u.output_tokens), 0)::bigint as tokens,
      coalesce(sum(u.cost) filter (where u.currency = coalesce(m.currency, p_platform_currency)), 0)
        as cost
    from public.language_model_usage u
    where u.company_id = c.id and u.month = date_trunc('month', now() at time zone c.timezone)::date
      and u.is_platform = (m.company_id is null)) used
  where c.id = (select private.company_id('chatbots.read'))
$$;
comment on function private.language_model(text) is
  'Returns the company''s model with its sealed key, and what the month has used of its budget (of the platform''s model, if the company has set none). The key can only be opened with the master key, which is not in the database. Security definer, called by the worker for one company and by staff and API keys, because a person who tries a bot may read neither keys nor use.';
grant execute on function private.language_model(text) to authenticated, neurant_worker;

create function private.count_language_model(
  p_is_platform boolean, p_model text, p_currency text, p_calls integer, p_input_tokens integer,
  p_output_tokens integer, p_cost numeric, p_fallbacks integer)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('chatbots.read');
begin
  if v_company is null or least(p_calls, p_input_tokens, p_output_tokens, p_cost, p_fallbacks) < 0
  then
    return;
  end if;
  insert into public.language_model_usage as u (company_id, month, is_platform, model, currency,
    calls, fallbacks, input_tokens, output_tokens, cost)
  select c.id, date_trunc('month', now() at time zone c.timezone)::date, p_is_platform, p_model,
    p_currency, p_calls, p_fallbacks, p_input_tokens, p_output_tokens, p_cost
  from public.companies c where c.id = v_company
  on conflict (company_id, month, is_platform, model, currency) do update
  set calls = u.calls + excluded.calls, fallbacks = u.fallbacks + excluded.fallbacks,
    input_tokens = u.input_tokens + excluded.input_tokens,
    output_tokens = u.output_tokens + excluded.output_tokens, cost = u.cost + excluded.cost;
end $$;
comment on function private.count_language_model(boolean, text, text, integer, integer, integer, numeric, integer) is
  'Adds the calls of a reply, a trial or a test to the month''s use; amounts are never negative. Call it last in a transaction, because it locks the month''s row. Security definer, called by the worker for one company and by staff and API keys, because no role may write figures of use directly.';
grant execute on function private.count_language_model(boolean, text, text, integer, integer,
  integer, numeric, integer) to authenticated, neurant_worker;

-- 60_analytics.sql -------------------------------------------------------------------------------
-- Analytics: metrics, and the days that must be recounted.

create table public.system_metrics (
  id uuid primary key default uuidv7(),
  "timestamp" timestamptz not null default now(),
  metric_type varchar(100) not null,
  value decimal(15, 6) not null,
  unit varchar(50),
  labels jsonb default '{}' check (jsonb_typeof(labels) = 'object'),
  company_id uuid references public.companies (id),
  chatbot_id uuid,
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (chatbot_id is null or company_id is not null)
);
comment on table public.system_metrics is
  'Platform table: metrics of the system; those of one company are shown to its owner and administradores.';
create index system_metrics_newest_idx on public.system_metrics (metric_type, "timestamp" desc);
create index system_metrics_company_idx on public.system_metrics (company_id, chatbot_id, "timestamp" desc)
  where company_id is not null;
create index system_metrics_age_idx on public.system_metrics ("timestamp");

alter table public.system_metrics enable row level security, force row level security;
create policy staff_select on public.system_metrics for select to authenticated
  using (company_id = (select private.company_id('metrics.read')));
create policy router_select on public.system_metrics for select to neurant_router using (true);
create policy router_insert on public.system_metrics for insert to neurant_router with check (true);
create policy router_delete on public.system_metrics for delete to neurant_router using (true);
grant select on public.system_metrics to authenticated;
grant select, insert, delete on public.system_metrics to neurant_router;

create table public.analytics_daily (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  chatbot_id uuid,
  date date not null,
  total_messages integer not null default 0 check (total_messages >= 0),
  bot_messages integer not null default 0 check (bot_messages >= 0),
  human_messages integer not null default 0 check (human_messages >= 0),
  end_user_messages integer not null default 0 check (end_user_messages >= 0),
  new_conversations integer not null default 0 check (new_conversations >= 0),
  active_conversations integer not null default 0 check (active_conversations >= 0),
  resolved_conversations integer not null default 0 check (resolved_conversations >= 0),
  avg_conversation_duration_minutes decimal(10, 2),
  hitl_escalations integer not null default 0 check (hitl_escalations >= 0),
  hitl_resolution_time_minutes decimal(10, 2),
  hitl_satisfaction_avg decimal(3, 2) check (hitl_satisfaction_avg between 1 and 5),
  avg_response_time_ms integer check (avg_response_time_ms >= 0),
  response_time_total_ms bigint not null default 0 check (response_time_total_ms >= 0),
  response_time_count integer not null default 0 check (response_time_count >= 0),
  total_tokens_used bigint not null default 0 check (total_tokens_used >= 0),
  satisfaction_ratings integer not null default 0 check (satisfaction_ratings >= 0),
  satisfaction_total integer not null default 0 check (satisfaction_total >= 0),
  satisfaction_avg decimal(3, 2) check (satisfaction_avg between 1 and 5),
  thumbs_up integer not null default 0 check (thumbs_up >= 0),
  thumbs_down integer not null default 0 check (thumbs_down >= 0),
  knowledge_queries integer not null default 0 check (knowledge_queries >= 0),
  knowledge_hits integer not null default 0 check (knowledge_hits between 0 and knowledge_queries),
  knowledge_hit_rate decimal(5, 2) check (knowledge_hit_rate between 0 and 100),
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique nulls not distinct (company_id, chatbot_id, date),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id)
);
comment on table public.analytics_daily is
  'Figures of each day, counted from live and archived facts by private.roll_up_analytics. They are always recounted and never incremented, so late, edited and erased rows are right as well. Once message_changes and analytics_dirty are drained, the table equals a recount. A day of a bot without any event has no row.';
comment on column public.analytics_daily.chatbot_id is
  'Null: the whole company; its averages are over all its facts, not over the bots'' averages.';
comment on column public.analytics_daily.date is 'The day in the company''s timezone.';
comment on column public.analytics_daily.total_messages is
  'Messages created that day by any sender: the bot, the staff, end users and the system.';
comment on column public.analytics_daily.bot_messages is 'Of total_messages, those of the bot.';
comment on column public.analytics_daily.human_messages is 'Of total_messages, those of the staff.';
comment on column public.analytics_daily.end_user_messages is
  'Of total_messages, those of end users.';
comment on column public.analytics_daily.new_conversations is
  'Conversations with started_at on that day.';
comment on column public.analytics_daily.active_conversations is
  'Conversations with a message created that day; each once.';
comment on column public.analytics_daily.resolved_conversations is
  'Conversations with ended_at on that day that were not abandoned.';
comment on column public.analytics_daily.avg_conversation_duration_minutes is
  'Average session_duration_minutes of the conversations with ended_at on that day, including abandoned ones; null if none has one.';
comment on column public.analytics_daily.hitl_escalations is
  'Takeovers (hitl_sessions) with opened_at on that day, whoever requested them.';
comment on column public.analytics_daily.hitl_resolution_time_minutes is
  'Average from opened_at to ended_at, in minutes, of the takeovers that were resolved that day; null if none was.';
comment on column public.analytics_daily.hitl_satisfaction_avg is
  'As satisfaction_avg, for the conversations with a takeover.';
comment on column public.analytics_daily.avg_response_time_ms is
  'Average processing_time_ms of the bot''s messages of that day that have one; null if none has.';
comment on column public.analytics_daily.response_time_total_ms is
  'Sum behind avg_response_time_ms: over several days, divide the sums.';
comment on column public.analytics_daily.response_time_count is
  'Messages behind avg_response_time_ms.';
comment on column public.analytics_daily.total_tokens_used is
  'Sum of tokens_used of the messages of that day.';
comment on column public.analytics_daily.satisfaction_ratings is
  'Conversations with a satisfaction_rating, on the day of ended_at or, while they are open, of started_at.';
comment on column public.analytics_daily.satisfaction_total is
  'Sum behind satisfaction_avg: over several days, divide by satisfaction_ratings.';
comment on column public.analytics_daily.satisfaction_avg is
  'Average satisfaction_rating of satisfaction_ratings; null if there is none.';
comment on column public.analytics_daily.thumbs_up is 'Reactions thumbs_up given that day.';
comment on column public.analytics_daily.thumbs_down is 'Reactions thumbs_down given that day.';
comment on column public.analytics_daily.knowledge_queries is
  'Searches of that day; those outside a conversation count for the company only.';
comment on column public.analytics_daily.knowledge_hits is
  'Of knowledge_queries, those with results that an answer was made of (results_count > 0).';
comment on column public.analytics_daily.knowledge_hit_rate is
  'Percent: 100 * knowledge_hits / knowledge_queries; null if there was no search.';
comment on column public.analytics_daily.created_at is 'When the day was last counted.';
create index analytics_daily_newest_idx on public.analytics_daily (company_id, date desc);

alter table public.analytics_daily enable row level security, force row level security;
-- Each policy for staff names its permission.
create policy staff_select on public.analytics_daily for select to authenticated
  using (company_id = (select private.company_id('analytics.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy router_select on public.analytics_daily for select to neurant_router using (true);
create policy router_insert on public.analytics_daily for insert to neurant_router with check (true);
create policy router_delete on public.analytics_daily for delete to neurant_router using (true);
grant select on public.analytics_daily to authenticated;
grant select, insert, delete on public.analytics_daily to neurant_router;

create table public.analytics_dirty (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  moment timestamptz,
  primary key (company_id, id)
);
comment on table public.analytics_dirty is
  'Timestamps at which a fact changed, so that the day of each is recounted. The transaction that changes a fact appends them (for messages, the one that drains message_changes), and private.roll_up_analytics removes them. No foreign keys, because rows may outlive what they name.';
comment on column public.analytics_dirty.moment is
  'A timestamp and not a day, because the day depends on the company''s timezone at the time of the count. Null: all days.';

alter table public.analytics_dirty enable row level security, force row level security;
create policy router_select on public.analytics_dirty for select to neurant_router using (true);
create policy router_insert on public.analytics_dirty for insert to neurant_router with check (true);
create policy router_delete on public.analytics_dirty for delete to neurant_router using (true);
grant select, insert, delete on public.analytics_dirty to neurant_router;

create function private.record_metric(
  p_type text, p_value numeric, p_unit text default null, p_labels jsonb default '{}',
  p_company uuid default null, p_chatbot uuid default null)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.system_metrics (metric_type, value, unit, labels, company_id, chatbot_id)
  values (p_type, p_value, p_unit, p_labels, p_company, p_chatbot)
$$;
comment on function private.record_metric(text, numeric, text, jsonb, uuid, uuid) is
  'Writes one metric. Security definer, called by the worker process, because the worker''s login measures all companies and may read none.';
grant execute on function private.record_metric(text, numeric, text, jsonb, uuid, uuid) to
  neurant_jobs;

create function private.record_system_metrics(p_now timestamptz default now()) returns void
language sql volatile security definer set search_path = '' as $$
  select private.record_metric(m.type, m.value, m.unit)
  from (
    select 'replies_owed', count(*)::numeric, 'count' from public.reply_requests
    union all
    select 'replies_oldest_age', coalesce(extract(epoch from p_now - min(r.requested_at)), 0), 'seconds'
    from public.reply_requests r
    union all
    select 'outbox_waiting', count(*), 'count' from public.outbox o
    where o.status in ('pending', 'sending')
    union all
    select 'outbox_oldest_age', coalesce(extract(epoch from p_now - min(o.created_at)), 0), 'seconds'
    from public.outbox o where o.status in ('pending', 'sending')
    union all
    select 'message_changes_waiting', count(*), 'count' from public.message_changes
    union all
    select 'analytics_marks_waiting', count(*), 'count' from public.analytics_dirty
    union all
    select 'knowledge_uses_waiting', count(*), 'count' from public.knowledge_uses
    union all
    select 'database_size', pg_database_size(current_database()) / 1048576.0, 'MB') m (type, value, unit)
$$;
comment on function private.record_system_metrics(timestamptz) is
  'Writes metrics of the queues of all companies and of the database. Security definer, called by the worker process, because the worker''s login may read none of them.';
grant execute on function private.record_system_metrics(timestamptz) to neurant_jobs;

create function private.drop_old_metrics(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_dropped integer;
begin
  delete from public.system_metrics m where m."timestamp" < p_now - interval '30 days';
  get diagnostics v_dropped = row_count;
  return v_dropped;
end $$;
comment on function private.drop_old_metrics(timestamptz) is
  'Deletes metrics older than 30 days; returns the number. Security definer, called by the worker process, because no other role may delete them.';
grant execute on function private.drop_old_metrics(timestamptz) to neurant_jobs;

create function private.mark_moments(p_company uuid, p_moments timestamptz[]) returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.analytics_dirty (company_id, moment)
  -- No timezone has its midnight between two quarters of an hour, so one mark does for each.
  select distinct p_company, date_bin('15 minutes', t.moment, '2000-01-01 00:00:00+00')
  from unnest(p_moments) as t (moment)
  where t.moment is not null
$$;
comment on function private.mark_moments(uuid, timestamptz[]) is
  'Requests a recount of the days of these timestamps. Security definer, called by other definers only, because no role may write statistics directly.';

create function private.mark_changed_messages() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(c.company_id, array_agg(c.message_created_at))
  from changed c
  group by c.company_id;
  return null;
end $$;
comment on function private.mark_changed_messages() is
  'Requests a recount of a message''s day when its change is taken off the log, in the same transaction. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_drained_messages after delete on public.message_changes
  referencing old table as changed
  for each statement execute function private.mark_changed_messages();

create function private.mark_changed_conversations() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(c.company_id, array_agg(t.moment))
  from changed c
  cross join lateral (values (c.started_at), (c.ended_at)) as t (moment)
  group by c.company_id;
  return null;
end $$;
comment on function private.mark_changed_conversations() is
  'Requests a recount for new and deleted conversations. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_new_conversations after insert on public.conversations
  referencing new table as changed
  for each statement execute function private.mark_changed_conversations();

create trigger mark_deleted_conversations after delete on public.conversations
  referencing old table as changed
  for each statement execute function private.mark_changed_conversations();

create function private.mark_conversation_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(
    new.company_id, array[old.started_at, old.ended_at, new.started_at, new.ended_at]);
  return null;
end $$;
comment on function private.mark_conversation_edit() is
  'Requests a recount for an edited conversation. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_edited_conversations
  after update of status, started_at, ended_at, session_duration_minutes, satisfaction_rating
  on public.conversations
  for each row when ((old.status, old.started_at, old.ended_at, old.session_duration_minutes,
      old.satisfaction_rating)
    is distinct from (new.status, new.started_at, new.ended_at, new.session_duration_minutes,
      new.satisfaction_rating))
  execute function private.mark_conversation_edit();

create function private.mark_changed_hitl_sessions() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(s.company_id, array_agg(t.moment))
  from changed s
  left join public.conversations c on c.company_id = s.company_id and c.id = s.conversation_id
  -- The last: the conversation's rating becomes one of a takeover, or no longer is.
  cross join lateral (
    values (s.opened_at), (s.ended_at), (coalesce(c.ended_at, c.started_at))) as t (moment)
  group by s.company_id;
  return null;
end $$;
comment on function private.mark_changed_hitl_sessions() is
  'Requests a recount for new and deleted takeovers. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_new_hitl_sessions after insert on public.hitl_sessions
  referencing new table as changed
  for each statement execute function private.mark_changed_hitl_sessions();

create trigger mark_deleted_hitl_sessions after delete on public.hitl_sessions
  referencing old table as changed
  for each statement execute function private.mark_changed_hitl_sessions();

create function private.mark_hitl_session_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(
    new.company_id, array[old.opened_at, old.ended_at, new.opened_at, new.ended_at]);
  return null;
end $$;
comment on function private.mark_hitl_session_edit() is
  'Requests a recount for an edited takeover. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_edited_hitl_sessions
  after update of status, opened_at, ended_at on public.hitl_sessions
  for each row when ((old.status, old.opened_at, old.ended_at)
    is distinct from (new.status, new.opened_at, new.ended_at))
  execute function private.mark_hitl_session_edit();

create function private.mark_changed_moments() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(c.company_id, array_agg(c.created_at))
  from changed c
  group by c.company_id;
  return null;
end $$;
comment on function private.mark_changed_moments() is
  'Requests a recount for reactions and knowledge queries, which count on the day of created_at. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_new_reactions after insert on public.message_reactions
  referencing new table as changed
  for each statement execute function private.mark_changed_moments();

create trigger mark_deleted_reactions after delete on public.message_reactions
  referencing old table as changed
  for each statement execute function private.mark_changed_moments();

create trigger mark_new_queries after insert on public.knowledge_queries
  referencing new table as changed
  for each statement execute function private.mark_changed_moments();

create trigger mark_deleted_queries after delete on public.knowledge_queries
  referencing old table as changed
  for each statement execute function private.mark_changed_moments();

create function private.mark_moment_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(new.company_id, array[old.created_at, new.created_at]);
  return null;
end $$;
comment on function private.mark_moment_edit() is
  'Requests a recount for edited reactions and knowledge queries. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_edited_reactions
  after update of reaction_type, created_at on public.message_reactions
  for each row execute function private.mark_moment_edit();

create trigger mark_edited_queries
  after update of results_count, created_at, conversation_id on public.knowledge_queries
  for each row execute function private.mark_moment_edit();

create function private.mark_all_days() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.analytics_dirty (company_id) values (new.id);
  return null;
end $$;
comment on function private.mark_all_days() is
  'Requests a recount of all days when the company''s timezone changes, because every day then has other hours. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_all_days after update of timezone on public.companies
  for each row when (old.timezone <> new.timezone) execute function private.mark_all_days();

-- 61_archives.sql --------------------------------------------------------------------------------
-- Archives: finished conversations, with all the rows that belong to them.

-- Without checks, because old rows were written under the rules of their time and must always fit.
create table public.conversations_archived (
  like public.conversations,
  primary key (company_id, id),
  unique (company_id, id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, assigned_operator_id) references public.users (company_id, id),
  constraint conversations_end_check check (ended_at >= started_at),
  constraint conversations_counts_check check (
    message_count >= 0 and bot_message_count >= 0 and human_message_count >= 0)
);
comment on table public.conversations_archived is
  'Exactly the columns of conversations; the same holds for every table *_archived. Only private.archive_old_data fills them.';
create index conversations_archived_end_user_idx on public.conversations_archived
  (company_id, channel_account_id, end_user_id, started_at desc);
create index conversations_archived_chatbot_idx
  on public.conversations_archived (company_id, chatbot_id, last_message_at desc);
create index conversations_archived_operator_idx
  on public.conversations_archived (company_id, assigned_operator_id)
  where assigned_operator_id is not null;
create index conversations_archived_started_idx
  on public.conversations_archived (company_id, started_at);
create index conversations_archived_ended_idx on public.conversations_archived (company_id, ended_at)
  where ended_at is not null;

alter table public.conversations_archived enable row level security, force row level security;
create policy staff_select on public.conversations_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
create policy router_select on public.conversations_archived for select to neurant_router using (true);
create policy router_insert on public.conversations_archived for insert to neurant_router with check (true);
create policy router_update on public.conversations_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.conversations_archived for delete to neurant_router using (true);
grant select on public.conversations_archived to authenticated;
grant select, insert, delete on public.conversations_archived to neurant_router;
grant update (id, end_user_id, end_user_name, end_user_avatar, hitl_reason, satisfaction_comment,
  context_data, conversation_summary) on public.conversations_archived to neurant_router;

create table public.messages_archived (
  like public.messages,
  primary key (company_id, id),
  unique (company_id, conversation_id, seq),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, sender_id) references public.users (company_id, id),
  constraint messages_seq_check check (seq > 0),
  constraint messages_sources_check check (jsonb_typeof(knowledge_sources) = 'array')
);
create index messages_archived_newest_idx
  on public.messages_archived (company_id, created_at desc, id desc);
create index messages_archived_sender_idx
  on public.messages_archived (company_id, sender_id) where sender_id is not null;

alter table public.messages_archived enable row level security, force row level security;
create policy staff_select on public.messages_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.messages_archived for select to neurant_router using (true);
create policy router_insert on public.messages_archived for insert to neurant_router with check (true);
-- Erasure overwrites columns of some archive tables, and deletes rows of others.
create policy router_update on public.messages_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.messages_archived for delete to neurant_router using (true);
grant select on public.messages_archived to authenticated;
grant select, insert, delete on public.messages_archived to neurant_router;
grant update (content, media_url, media_type, n8n_message_id, external_message_id,
  knowledge_sources, explanation) on public.messages_archived to neurant_router;

create table public.hitl_sessions_archived (
  like public.hitl_sessions,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, ended_by) references public.users (company_id, id)
);
create index hitl_sessions_archived_conversation_idx
  on public.hitl_sessions_archived (company_id, conversation_id, opened_at desc);
create index hitl_sessions_archived_operator_idx
  on public.hitl_sessions_archived (company_id, operator_id) where operator_id is not null;
create index hitl_sessions_archived_ended_by_idx
  on public.hitl_sessions_archived (company_id, ended_by) where ended_by is not null;
create index hitl_sessions_archived_opened_idx
  on public.hitl_sessions_archived (company_id, opened_at);
create index hitl_sessions_archived_ended_idx
  on public.hitl_sessions_archived (company_id, ended_at) where ended_at is not null;

alter table public.hitl_sessions_archived enable row level security, force row level security;
create policy staff_select on public.hitl_sessions_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.hitl_sessions_archived for select to neurant_router using (true);
create policy router_insert on public.hitl_sessions_archived for insert to neurant_router with check (true);
create policy router_update on public.hitl_sessions_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_sessions_archived for delete to neurant_router using (true);
grant select on public.hitl_sessions_archived to authenticated;
grant select, insert, delete on public.hitl_sessions_archived to neurant_router;
grant update (reason_detail, resolution_notes) on public.hitl_sessions_archived to neurant_router;

create table public.hitl_transfers_archived (
  like public.hitl_transfers,
  primary key (company_id, id),
  foreign key (company_id, session_id) references public.hitl_sessions_archived (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, from_user_id) references public.users (company_id, id),
  foreign key (company_id, to_user_id) references public.users (company_id, id)
);
create index hitl_transfers_archived_session_idx
  on public.hitl_transfers_archived (company_id, session_id);
create index hitl_transfers_archived_conversation_idx
  on public.hitl_transfers_archived (company_id, conversation_id);
create index hitl_transfers_archived_from_idx
  on public.hitl_transfers_archived (company_id, from_user_id);
create index hitl_transfers_archived_to_idx on public.hitl_transfers_archived (company_id, to_user_id);

alter table public.hitl_transfers_archived enable row level security, force row level security;
create policy staff_select on public.hitl_transfers_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())
      or from_user_id = (select private.user_id())));
create policy router_select on public.hitl_transfers_archived for select to neurant_router using (true);
create policy router_insert on public.hitl_transfers_archived for insert to neurant_router with check (true);
create policy router_update on public.hitl_transfers_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_transfers_archived for delete to neurant_router using (true);
grant select on public.hitl_transfers_archived to authenticated;
grant select, insert, delete on public.hitl_transfers_archived to neurant_router;
grant update (reason) on public.hitl_transfers_archived to neurant_router;

create table public.message_reactions_archived (
  like public.message_reactions,
  primary key (company_id, id),
  foreign key (company_id, message_id) references public.messages_archived (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, reacted_by_user_id) references public.users (company_id, id)
);
create index message_reactions_archived_message_idx
  on public.message_reactions_archived (company_id, message_id);
create index message_reactions_archived_conversation_idx
  on public.message_reactions_archived (company_id, conversation_id);
create index message_reactions_archived_user_idx
  on public.message_reactions_archived (company_id, reacted_by_user_id)
  where reacted_by_user_id is not null;
create index message_reactions_archived_newest_idx
  on public.message_reactions_archived (company_id, created_at);

alter table public.message_reactions_archived enable row level security, force row level security;
create policy staff_select on public.message_reactions_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.message_reactions_archived for select to neurant_router using (true);
create policy router_insert on public.message_reactions_archived for insert to neurant_router with check (true);
create policy router_update on public.message_reactions_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.message_reactions_archived for delete to neurant_router using (true);
grant select on public.message_reactions_archived to authenticated;
grant select, insert, delete on public.message_reactions_archived to neurant_router;
grant update (comment) on public.message_reactions_archived to neurant_router;

create table public.knowledge_queries_archived (
  like public.knowledge_queries,
  primary key (company_id, id),
  foreign key (company_id, conversation_id)
    references public.conversations_archived (company_id, id),
  foreign key (company_id, message_id) references public.messages_archived (company_id, id)
);
create index knowledge_queries_archived_conversation_idx
  on public.knowledge_queries_archived (company_id, conversation_id);
create index knowledge_queries_archived_message_idx
  on public.knowledge_queries_archived (company_id, message_id);
create index knowledge_queries_archived_newest_idx
  on public.knowledge_queries_archived (company_id, created_at desc);

alter table public.knowledge_queries_archived enable row level security, force row level security;
create policy staff_select on public.knowledge_queries_archived for select to authenticated
  using (company_id = (select private.company_id('documents.read')));
create policy router_select on public.knowledge_queries_archived for select to neurant_router using (true);
create policy router_insert on public.knowledge_queries_archived for insert to neurant_router with check (true);
create policy router_update on public.knowledge_queries_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.knowledge_queries_archived for delete to neurant_router using (true);
grant select on public.knowledge_queries_archived to authenticated;
grant select, insert, delete on public.knowledge_queries_archived to neurant_router;
grant update (query_text, query_embedding) on public.knowledge_queries_archived to neurant_router;

create table public.notes_archived (
  like public.notes,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations_archived (company_id, id, chatbot_id),
  foreign key (company_id, author_id) references public.users (company_id, id)
);
create index notes_archived_conversation_idx
  on public.notes_archived (company_id, conversation_id, created_at);
create index notes_archived_author_idx on public.notes_archived (company_id, author_id);

alter table public.notes_archived enable row level security, force row level security;
create policy staff_select on public.notes_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_archived_conversation_ids())::uuid[])));
create policy router_select on public.notes_archived for select to neurant_router using (true);
create policy router_insert on public.notes_archived for insert to neurant_router with check (true);
create policy router_update on public.notes_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.notes_archived for delete to neurant_router using (true);
grant select on public.notes_archived to authenticated;
grant select, insert, delete on public.notes_archived to neurant_router;
grant update (content) on public.notes_archived to neurant_router;

create table public.outbox_archived (
  like public.outbox,
  primary key (company_id, id),
  foreign key (company_id, conversation_id)
    references public.conversations_archived (company_id, id),
  foreign key (company_id, message_id) references public.messages_archived (company_id, id),
  foreign key (company_id, channel_account_id)
    references public.channel_accounts (company_id, id)
);
create index outbox_archived_conversation_idx on public.outbox_archived (company_id, conversation_id);
create index outbox_archived_message_idx on public.outbox_archived (company_id, message_id);
create index outbox_archived_account_idx on public.outbox_archived (company_id, channel_account_id);

alter table public.outbox_archived enable row level security, force row level security;
create policy staff_select on public.outbox_archived for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and exists (select from public.conversations_archived c
      where c.company_id = outbox_archived.company_id and c.id = outbox_archived.conversation_id));
create policy router_select on public.outbox_archived for select to neurant_router using (true);
create policy router_insert on public.outbox_archived for insert to neurant_router with check (true);
create policy router_update on public.outbox_archived for update to neurant_router using (true) with check (true);
create policy router_delete on public.outbox_archived for delete to neurant_router using (true);
grant select on public.outbox_archived to authenticated;
grant select, insert, delete on public.outbox_archived to neurant_router;
grant update (last_error) on public.outbox_archived to neurant_router;

create table public.archive_batches (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  kind text not null check (kind in ('archive', 'restore')),
  conversation_ids uuid[] not null check (cardinality(conversation_ids) > 0),
  counts jsonb not null check (jsonb_typeof(counts) = 'object'),
  checksums jsonb not null check (jsonb_typeof(checksums) = 'object'),
  started_at timestamptz not null,
  finished_at timestamptz not null,
  primary key (company_id, id),
  check (finished_at >= started_at)
);
comment on table public.archive_batches is
  'The manifest of the archive: one row per batch, written by the transaction that moved it.';
comment on column public.archive_batches.counts is 'Rows moved, by live table.';
comment on column public.archive_batches.checksums is
  'By live table: SHA-256 over the SHA-256 of each row in the order of ids (private.row_text), equal before and after the move. Rows that erasure overwrites later no longer match.';
create index archive_batches_newest_idx on public.archive_batches (company_id, started_at desc);

alter table public.archive_batches enable row level security, force row level security;
create policy staff_select on public.archive_batches for select to authenticated
  using (company_id = (select private.company_id('data.export')));
create policy router_select on public.archive_batches for select to neurant_router using (true);
create policy router_insert on public.archive_batches for insert to neurant_router with check (true);
grant select on public.archive_batches to authenticated;
grant select, insert on public.archive_batches to neurant_router;

create function private.archived_tables() returns table (place integer, live name, key name)
language sql immutable set search_path = '' as $$
  values (1, 'conversations'::name, 'id'::name), (2, 'messages', 'conversation_id'),
    (3, 'hitl_sessions', 'conversation_id'), (4, 'hitl_transfers', 'conversation_id'),
    (5, 'message_reactions', 'conversation_id'), (6, 'knowledge_queries', 'conversation_id'),
    (7, 'notes', 'conversation_id'), (8, 'outbox', 'conversation_id')
$$;
comment on function private.archived_tables() is
  'Returns the tables that are archived with a conversation, and the column that names the conversation. The archive of a table is called <table>_archived.';
grant execute on function private.archived_tables() to neurant_router;

create function private.check_archives() returns void
language plpgsql stable set search_path = '' as $$
declare
  v_differing text;
begin
  select string_agg(format('%s.%s', d.live, d.attname), ', ' order by d.live, d.attname)
  into v_differing
  from (
    select t.live, a.attname
    from private.archived_tables() t
    join pg_catalog.pg_attribute a on a.attnum > 0 and not a.attisdropped
      and a.attrelid in (format('public.%I', t.live)::regclass,
        format('public.%I', t.live || '_archived')::regclass)
    group by t.live, a.attname
    having count(*) <> 2 or count(distinct (a.atttypid, a.atttypmod)) <> 1) d;
  if v_differing is not null then
    raise exception 'the archive does not have the columns of the live table: %', v_differing
      using errcode = 'NA003',
      hint = 'Add to <table>_archived what was added to <table>; until then nothing moves.';
  end if;
end $$;
comment on function private.check_archives() is
  'Raises NA003 if an archive table lacks a column of its live table, has an additional one, or one of another type, since a value would be lost.';
grant execute on function private.check_archives() to neurant_router;

create function private.row_text(p_table regclass) returns text
language sql stable set search_path = '' as $$
  select 'row(' || string_agg(
    case a.atttypid
      -- No setting of the session may change a checksum.
      when 'timestamptz'::regtype then format('extract(epoch from %I)', a.attname)
      when 'bytea'::regtype then format('encode(%I, ''hex'')', a.attname)
      else format('%I', a.attname) end, ', ' order by a.attname) || ')::text'
  from pg_catalog.pg_attribute a
  where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
$$;
comment on function private.row_text(regclass) is
  'Returns the SQL expression that makes the text of a row for its checksum: all columns in the order of their names.';
grant execute on function private.row_text(regclass) to neurant_router;

create function private.row_columns(p_into regclass) returns text
language sql stable set search_path = '' as $$
  select string_agg(format('%I', a.attname), ', ' order by a.attname)
  from pg_catalog.pg_attribute a
  where a.attrelid = p_into and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
$$;
comment on function private.row_columns(regclass) is
  'Returns the columns to name in an insert: all but the generated ones.';
grant execute on function private.row_columns(regclass) to neurant_router;

create function private.count_archived(p_company uuid, p_conversations uuid[], p_suffix text)
returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  v_found jsonb;
begin
  execute (
    select 'select jsonb_build_object(' || string_agg(format(
      '%1$L, (select jsonb_build_object(''rows'', count(*), ''sha256'', '
      'encode(sha256(coalesce(string_agg(sha256(convert_to(%4$s, ''UTF8'')), '''' order by id), '''')), ''hex'')) '
      'from public.%2$I where company_id = $1 and %3$I = any ($2))',
      t.live, t.live || p_suffix, t.key, private.row_text(format('public.%I', t.live)::regclass)),
      ', ' order by t.place) || ')'
    from private.archived_tables() t)
  into v_found using p_company, p_conversations;
  return v_found;
end $$;
comment on function private.count_archived(uuid, uuid[], text) is
  'Returns row counts and checksums of these conversations, by table: of the live tables (suffix empty) or the archives (_archived). Security definer, called by other definers only, because it works on any company.';

create function private.move_conversations(
  p_company uuid, p_conversations uuid[], p_from text, p_into text, p_started timestamptz)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_before jsonb;
  v_after jsonb;
  v_moved jsonb;
  v_batch uuid;
begin
  v_before := private.count_archived(p_company, p_conversations, p_from);
  -- Now that the tables are held: a column that is added meanwhile waits.
  perform private.check_archives();
  -- One statement, so that each row is in exactly one place at any moment, also for its triggers.
  execute (
    select 'with ' || string_agg(format(
      'gone_%1$s as (delete from public.%2$I where company_id = $1 and %4$I = any ($2) returning *), '
      'kept_%1$s as (insert into public.%3$I (%5$s) select %5$s from gone_%1$s returning 1)',
      t.place, t.live || p_from, t.live || p_into, t.key,
      private.row_columns(format('public.%I', t.live || p_into)::regclass)),
      ', ' order by t.place)
      || ' select jsonb_build_object(' || string_agg(format(
      '%L, jsonb_build_array((select count(*) from gone_%s), (select count(*) from kept_%s))',
      t.live, t.place, t.place), ', ' order by t.place) || ')'
    from private.archived_tables() t)
  into v_moved using p_company, p_conversations;
  v_after := private.count_archived(p_company, p_conversations, p_into);
  if v_before <> v_after or exists (
    select from jsonb_each(v_moved) m
    where m.value -> 0 <> v_before -> m.key -> 'rows' or m.value -> 1 <> v_before -> m.key -> 'rows')
  then
    raise exception 'rows were changed on their way between the live tables and the archives'
      using errcode = 'NA003',
      detail = jsonb_build_object('before', v_before, 'moved', v_moved, 'after', v_after);
  end if;
  insert into public.archive_batches
    (company_id, kind, conversation_ids, counts, checksums, started_at, finished_at)
  select p_company, case p_into when '' then 'restore' else 'archive' end, p_conversations,
    jsonb_object_agg(e.key, e.value -> 'rows'), jsonb_object_agg(e.key, e.value -> 'sha256'),
    p_started, greatest(p_started, clock_timestamp())
  from jsonb_each(v_after) e
  returning id into v_batch;
  return v_batch;
end $$;
comment on function private.move_conversations(uuid, uuid[], text, text, timestamptz) is
  'Moves locked conversations with all rows that belong to them, and writes the manifest. Raises NA003 unless every row arrives exactly as it left. Security definer, called by other definers only, because no role may delete messages or write an archive.';

create function private.has_open_work(p_company uuid, p_conversation uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from public.reply_requests r
      where r.company_id = p_company and r.conversation_id = p_conversation)
    or exists (select from public.outbox o
      where o.company_id = p_company and o.conversation_id = p_conversation
        and o.status in ('pending', 'sending'))
    or exists (select from public.hitl_sessions s
      where s.company_id = p_company and s.conversation_id = p_conversation and s.ended_at is null)
    or exists (select from public.hitl_transfers t
      where t.company_id = p_company and t.conversation_id = p_conversation
        and t.status = 'pending')
$$;
comment on function private.has_open_work(uuid, uuid) is
  'Returns whether a reply is owed, a message is in delivery, or a takeover is open. Security definer, called by other definers only, because it works on any company.';

create function private.archive_old_data(
  p_before interval default '1 year', p_limit integer default 500, p_now timestamptz default now())
returns table (company_id uuid, batch_id uuid, conversations integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_ids uuid[];
begin
  perform private.check_archives();
  for v_company in
    select k.id from public.companies k
    where exists (select from public.conversations c
      where c.company_id = k.id and c.status <> 'active'
        -- What the inbox's index holds; last_message_at, which decides, is never before it.
        and c.last_message_slot < p_now - p_before and c.last_message_at < p_now - p_before)
    order by (select max(b.started_at) from public.archive_batches b
      where b.company_id = k.id and b.kind = 'archive') nulls first, k.id
  loop
    select array_agg(l.id order by l.id) into v_ids from (
      select c.id from public.conversations c
      where c.company_id = v_company and c.status <> 'active'
        and c.last_message_slot < p_now - p_before and c.last_message_at < p_now - p_before
        and not private.has_open_work(c.company_id, c.id)
        -- What somebody has just brought back stays a while.
        and not exists (select from public.archive_batches b
          where b.company_id = c.company_id and b.kind = 'restore'
            and b.conversation_ids[1] = c.id and b.started_at > p_now - interval '30 days')
      order by c.last_message_slot, c.last_message_at limit p_limit for update skip locked) l;
    -- Again, now that they are locked: somebody may have asked to send again in between.
    -- And no more messages at once than a second takes.
    select array_agg(i.id order by i.id) into v_ids from (
      select c.id, sum(c.message_count) over (order by c.last_message_at, c.id) - c.message_count
        as messages_before
      from public.conversations c
      where c.company_id = v_company and c.id = any (v_ids)
        and not private.has_open_work(v_company, c.id)) i
    where i.messages_before < 5000;
    continue when v_ids is null;
    return query select v_company,
      private.move_conversations(v_company, v_ids, '', '_archived', clock_timestamp()),
      cardinality(v_ids);
    return;
  end loop;
end $$;
comment on function private.archive_old_data(interval, integer, timestamptz) is
  'Archives up to p_limit finished conversations (and about 5,000 messages) of one company whose last message is older than p_before; the companies take turns, one per call. No row: there is nothing left to do. Security definer, called by the worker process, because it works on all companies, and no role may delete messages.';
grant execute on function private.archive_old_data(interval, integer, timestamptz) to
  neurant_jobs;

create function private.restore_conversation(p_conversation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.restore');
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  perform from public.conversations_archived c
  where c.company_id = v_company and c.id = p_conversation for update;
  if not found then
    return 'not_found';
  end if;
  perform private.move_conversations(
    v_company, array[p_conversation], '_archived', '', clock_timestamp());
  return 'restored';
exception when unique_violation then
  return 'in_conflict';
end $$;
comment on function private.restore_conversation(uuid) is
  'The owner or an administrador restores an archived conversation exactly as it was; it then stays for at least 30 days. Outcome: restored, not_found, or in_conflict (the channel has sent one of its messages again). Security definer, called by staff and API keys, because no role may write stored messages directly.';
grant execute on function private.restore_conversation(uuid) to authenticated;

-- 62_facts.sql -----------------------------------------------------------------------------------
-- Views of the facts that the figures are counted from: live rows and archived ones.

-- Statistics also count archived rows.
create view private.fact_messages with (security_invoker = true) as
  select m.company_id, m.chatbot_id, m.conversation_id, m.created_at, m.sender_type,
    m.tokens_used, m.processing_time_ms
  from public.messages m
  union all
  select m.company_id, m.chatbot_id, m.conversation_id, m.created_at, m.sender_type,
    m.tokens_used, m.processing_time_ms
  from public.messages_archived m;
grant select on private.fact_messages to neurant_router;

create view private.fact_conversations with (security_invoker = true) as
  select c.company_id, c.id, c.chatbot_id, c.status, c.started_at, c.ended_at,
    c.session_duration_minutes, c.satisfaction_rating
  from public.conversations c
  union all
  select c.company_id, c.id, c.chatbot_id, c.status, c.started_at, c.ended_at,
    c.session_duration_minutes, c.satisfaction_rating
  from public.conversations_archived c;
grant select on private.fact_conversations to neurant_router;

create view private.fact_hitl_sessions with (security_invoker = true) as
  select s.company_id, s.chatbot_id, s.conversation_id, s.status, s.opened_at, s.ended_at
  from public.hitl_sessions s
  union all
  select s.company_id, s.chatbot_id, s.conversation_id, s.status, s.opened_at, s.ended_at
  from public.hitl_sessions_archived s;
grant select on private.fact_hitl_sessions to neurant_router;

create view private.fact_message_reactions with (security_invoker = true) as
  select r.company_id, r.chatbot_id, r.reaction_type, r.created_at
  from public.message_reactions r
  union all
  select r.company_id, r.chatbot_id, r.reaction_type, r.created_at
  from public.message_reactions_archived r;
grant select on private.fact_message_reactions to neurant_router;

create view private.fact_knowledge_queries with (security_invoker = true) as
  select q.company_id, q.conversation_id, q.results_count, q.created_at
  from public.knowledge_queries q
  union all
  select q.company_id, q.conversation_id, q.results_count, q.created_at
  from public.knowledge_queries_archived q;
grant select on private.fact_knowledge_queries to neurant_router;

-- 63_rollup.sql ----------------------------------------------------------------------------------
-- The rollup: recounts the figures of each day from the facts.

create function private.recount_day(p_company uuid, p_date date, p_timezone text) returns void
language plpgsql security definer set search_path = '' as $$
declare
  -- Where the clocks go back to midnight there are two, and this finds the second one: what lies
  -- between them is found by looking back, and told by its date below.
  v_from timestamptz := p_date::timestamp at time zone p_timezone - interval '3 hours';
  v_to timestamptz := (p_date + 1)::timestamp at time zone p_timezone;
begin
  delete from public.analytics_daily a where a.company_id = p_company and a.date = p_date;
  insert into public.analytics_daily (company_id, chatbot_id, date,
    total_messages, bot_messages, human_messages, end_user_messages, new_conversations,
    active_conversations, resolved_conversations, avg_conversation_duration_minutes,
    hitl_escalations, hitl_resolution_time_minutes, hitl_satisfaction_avg, avg_response_time_ms,
    response_time_total_ms, response_time_count, total_tokens_used, satisfaction_ratings,
    satisfaction_total, satisfaction_avg, thumbs_up, thumbs_down, knowledge_queries,
    knowledge_hits, knowledge_hit_rate)
  with said as (
    select x.chatbot_id, count(*) as active, sum(x.messages) as messages, sum(x.bot) as bot,
      sum(x.human) as human, sum(x.end_user) as end_user, sum(x.tokens) as tokens,
      sum(x.response_ms) as response_ms, sum(x.responses) as responses
    from (
      select m.chatbot_id, m.conversation_id, count(*) as messages,
        count(*) filter (where m.sender_type = 'bot') as bot,
        count(*) filter (where m.sender_type = 'human') as human,
        count(*) filter (where m.sender_type = 'end_user') as end_user,
        sum(m.tokens_used) as tokens,
        sum(m.processing_time_ms) filter (where m.sender_type = 'bot') as response_ms,
        count(m.processing_time_ms) filter (where m.sender_type = 'bot') as responses
      from private.fact_messages m
      where m.company_id = p_company and m.created_at >= v_from and m.created_at < v_to
        and (m.created_at at time zone p_timezone)::date = p_date
      group by m.chatbot_id, m.conversation_id) x
    group by x.chatbot_id
  ),
  held as (
    select c.chatbot_id, count(*) filter (where c.began) as began,
      count(*) filter (where c.ended and c.status <> 'abandoned') as resolved,
      count(c.minutes) as measured, sum(c.minutes) as minutes,
      count(c.rating) as ratings, sum(c.rating) as rated,
      count(c.rating) filter (where c.was_taken) as taken_ratings,
      sum(c.rating) filter (where c.was_taken) as taken_rated
    from (
      select c.chatbot_id, c.status, d.began, d.ended,
        case when d.ended then c.session_duration_minutes end as minutes,
        case when c.ended_at is null or d.ended then c.satisfaction_rating end as rating,
        c.satisfaction_rating is not null and exists (
          select from private.fact_hitl_sessions s
          where s.company_id = c.company_id and s.conversation_id = c.id) as was_taken
      from private.fact_conversations c
      cross join lateral (
        select (c.started_at at time zone p_timezone)::date = p_date as began,
          coalesce((c.ended_at at time zone p_timezone)::date = p_date, false) as ended) d
      where c.company_id = p_company and (d.began or d.ended)
        and (c.started_at >= v_from and c.started_at < v_to
          or c.ended_at >= v_from and c.ended_at < v_to)) c
    group by c.chatbot_id
  ),
  taken as (
    select s.chatbot_id,
      count(*) filter (where (s.opened_at at time zone p_timezone)::date = p_date) as opened,
      count(*) filter (where r.is_resolved) as resolved,
      sum(extract(epoch from s.ended_at - s.opened_at)) filter (where r.is_resolved) as seconds
    from private.fact_hitl_sessions s
    cross join lateral (
      select s.status = 'resolved'
        and (s.ended_at at time zone p_timezone)::date = p_date as is_resolved) r
    where s.company_id = p_company
      and (s.opened_at >= v_from and s.opened_at < v_to or s.ended_at >= v_from and s.ended_at < v_to)
      and ((s.opened_at at time zone p_timezone)::date = p_date or r.is_resolved)
    group by s.chatbot_id
  ),
  reacted as (
    select r.chatbot_id, count(*) filter (where r.reaction_type = 'thumbs_up') as up,
      count(*) filter (where r.reaction_type = 'thumbs_down') as down
    from private.fact_message_reactions r
    where r.company_id = p_company and r.created_at >= v_from and r.created_at < v_to
      and (r.created_at at time zone p_timezone)::date = p_date
      and r.reaction_type in ('thumbs_up', 'thumbs_down')
    group by r.chatbot_id
  ),
  asked as (
    select c.chatbot_id, count(*) as queries, count(*) filter (where q.results_count > 0) as hits
    from private.fact_knowledge_queries q
    left join private.fact_conversations c
      on c.company_id = q.company_id and c.id = q.conversation_id
    where q.company_id = p_company and q.created_at >= v_from and q.created_at < v_to
      and (q.created_at at time zone p_timezone)::date = p_date
    group by c.chatbot_id
  )
  select p_company, chatbot_id, p_date,
    coalesce(sum(said.messages), 0), coalesce(sum(said.bot), 0), coalesce(sum(said.human), 0),
    coalesce(sum(said.end_user), 0), coalesce(sum(held.began), 0), coalesce(sum(said.active), 0),
    coalesce(sum(held.resolved), 0), sum(held.minutes) / nullif(sum(held.measured), 0),
    coalesce(sum(taken.opened), 0), sum(taken.seconds) / nullif(60 * sum(taken.resolved), 0),
    sum(held.taken_rated) / nullif(sum(held.taken_ratings), 0),
    sum(said.response_ms) / nullif(sum(said.responses), 0),
    coalesce(sum(said.response_ms), 0), coalesce(sum(said.responses), 0),
    coalesce(sum(said.tokens), 0), coalesce(sum(held.ratings), 0), coalesce(sum(held.rated), 0),
    sum(held.rated) / nullif(sum(held.ratings), 0), coalesce(sum(reacted.up), 0),
    coalesce(sum(reacted.down), 0), coalesce(sum(asked.queries), 0), coalesce(sum(asked.hits), 0),
    100 * sum(asked.hits) / nullif(sum(asked.queries), 0)
  from said
  full join held using (chatbot_id)
  full join taken using (chatbot_id)
  full join reacted using (chatbot_id)
  full join asked using (chatbot_id)
  group by grouping sets ((chatbot_id), ())
  having count(*) > 0 and (chatbot_id is not null or grouping(chatbot_id) = 1);
end $$;
comment on function private.recount_day(uuid, date, text) is
  'Recounts a company''s day and writes its rows, in one pass over its facts. roll_up_analytics must hold the lock on the company. Security definer, called by other definers only, because no role may write statistics directly.';

create function private.refresh_chatbot_figures(p_company uuid) returns void
language sql volatile security definer set search_path = '' as $$
  update public.chatbots b
  set total_conversations = f.conversations, total_messages = f.messages,
    avg_response_time_ms = f.response_ms, satisfaction_score = f.satisfaction
  from (
    select k.id, coalesce(sum(a.new_conversations), 0) as conversations,
      coalesce(sum(a.total_messages), 0) as messages,
      coalesce(round(sum(a.response_time_total_ms) / nullif(sum(a.response_time_count), 0)), 0)
        as response_ms,
      coalesce(round(sum(a.satisfaction_total)::numeric / nullif(sum(a.satisfaction_ratings), 0), 2), 0)
        as satisfaction
    from public.chatbots k
    left join public.analytics_daily a on a.company_id = k.company_id and a.chatbot_id = k.id
    where k.company_id = p_company
    group by k.id) f
  where b.company_id = p_company and b.id = f.id
    and (b.total_conversations, b.total_messages, b.avg_response_time_ms, b.satisfaction_score)
      is distinct from (f.conversations, f.messages, f.response_ms, f.satisfaction)
$$;
comment on function private.refresh_chatbot_figures(uuid) is
  'Sets the cached figures of a company''s bots from analytics_daily. Security definer, called by other definers only, because no role may write these columns directly.';

create function private.roll_up_analytics(p_company uuid, p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_timezone text;
  v_days date[];
begin
  -- One at a time: of two, the one that read the facts earlier could write last. Held to the end
  -- of the transaction, and taken before the statements below look at anything.
  if not pg_try_advisory_xact_lock(hashtextextended('private.roll_up_analytics ' || p_company, 0)) then
    return 0;
  end if;
  with everything as (
    delete from public.analytics_dirty d where d.company_id = p_company and d.moment is null returning d.id
  )
  insert into public.analytics_dirty (company_id, moment)
  -- Every fact has its row already or a mark of its own; another timezone moves it by 26 hours at most.
  select distinct p_company, (a.date + n)::timestamp at time zone 'UTC' + interval '12 hours'
  from public.analytics_daily a cross join generate_series(-3, 3) n
  where a.company_id = p_company and exists (select from everything);
  select c.timezone into v_timezone from public.companies c where c.id = p_company;
  v_days := array(
    select distinct (d.moment at time zone v_timezone)::date as day
    from public.analytics_dirty d
    where d.company_id = p_company and d.moment is not null
    order by day desc limit p_limit);
  -- A mark that is seen here is of a fact that the count below sees; a later one stays.
  delete from public.analytics_dirty d
  where d.company_id = p_company
    and ((d.moment at time zone v_timezone)::date = any (v_days) or v_timezone is null);
  perform private.recount_day(p_company, day, v_timezone) from unnest(v_days) as day;
  if cardinality(v_days) > 0 then
    perform private.refresh_chatbot_figures(p_company);
  end if;
  return cardinality(v_days);
end $$;
comment on function private.roll_up_analytics(uuid, integer) is
  'Recounts at most p_limit changed days of a company, the newest first. Returns the number (0 as well while another call counts the company: an advisory lock admits one, because of two the one that read the facts earlier could write last). It must be called in READ COMMITTED. Security definer, called by the worker process, because no role may write statistics directly.';
grant execute on function private.roll_up_analytics(uuid, integer) to neurant_jobs;

create function private.companies_to_roll_up() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select distinct d.company_id from public.analytics_dirty d
$$;
comment on function private.companies_to_roll_up() is
  'Returns the companies with days to recount. Security definer, called by the worker process, because it reads all companies; it returns ids only.';
grant execute on function private.companies_to_roll_up() to neurant_jobs;

-- 64_erasure.sql ---------------------------------------------------------------------------------
-- Erasure: of a contact, of a user, of a company.

create function private.record_erasure(p_company uuid, p_kind text, p_subject uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if to_regprocedure('private.shred_audit_subject(uuid, uuid)') is not null then
    execute 'select private.shred_audit_subject($1, $2)' using p_company, p_subject;
  end if;
  if exists (select from pg_catalog.pg_proc p
    where p.pronamespace = 'private'::regnamespace and p.proname = 'write_audit') then
    execute 'select private.write_audit($1, ''erase'', $2, $3, ''{}'')'
      using p_company, p_kind, p_subject;
  end if;
end $$;
comment on function private.record_erasure(uuid, text, uuid) is
  'Makes the audit rows of an erased subject unattributable, and writes the erasure itself into the audit log. Security definer, called by other definers only, because no role may insert audit rows directly.';

create function private.end_for_erasure(p_company uuid, p_conversation uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = p_company and t.conversation_id = p_conversation and t.status = 'pending';
  update public.hitl_sessions s
  set status = 'abandoned', ended_at = now(), ended_by = (select private.user_id())
  where s.company_id = p_company and s.conversation_id = p_conversation and s.ended_at is null;
  delete from public.reply_requests r
  where r.company_id = p_company and r.conversation_id = p_conversation;
  with stopped as (
    update public.outbox o
    set status = 'cancelled', claim_token = null, claimed_until = null
    where o.company_id = p_company and o.conversation_id = p_conversation
      and o.status in ('pending', 'sending')
    returning o.message_id
  )
  update public.messages m set status = 'cancelled'
  from stopped
  where m.company_id = p_company and m.id = stopped.message_id;
  update public.conversations c set status = 'abandoned'
  where c.company_id = p_company and c.id = p_conversation and c.status = 'active';
end $$;
comment on function private.end_for_erasure(uuid, uuid) is
  'Ends a conversation at once, so that nothing more is written in it. Security definer, called by other definers only, because no role may write a conversation''s status directly.';

create function private.overwrite_conversations(
  p_company uuid, p_conversations uuid[], p_suffix text, p_end_user text)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_statement text;
begin
  foreach v_statement in array array[
    'update public.conversations%s set end_user_id = $3, end_user_name = null,
      end_user_avatar = null, satisfaction_comment = null, context_data = ''{}'',
      conversation_summary = null, hitl_reason = null where company_id = $1 and id = any ($2)',
    -- What was answered tells as much about a person as what was asked.
    'update public.messages%s set content = ''[borrado]'', media_url = null, media_type = null,
      external_message_id = null, n8n_message_id = null, knowledge_sources = ''[]'',
      explanation = null
      where company_id = $1 and conversation_id = any ($2) and sender_type <> ''system''',
    'update public.hitl_sessions%s set reason_detail = null, resolution_notes = null
      where company_id = $1 and conversation_id = any ($2)',
    'update public.hitl_transfers%s set reason = ''[borrado]''
      where company_id = $1 and conversation_id = any ($2)',
    'update public.message_reactions%s set comment = null
      where company_id = $1 and conversation_id = any ($2)',
    'update public.knowledge_queries%s set query_text = ''[borrado]'', query_embedding = null
      where company_id = $1 and conversation_id = any ($2)',
    'update public.notes%s set content = ''[borrado]''
      where company_id = $1 and conversation_id = any ($2)',
    -- A channel's refusal often repeats the number that it refused.
    'update public.outbox%s set last_error = null
      where company_id = $1 and conversation_id = any ($2) and last_error is not null'
  ] loop
    execute format(v_statement, p_suffix) using p_company, p_conversations, p_end_user;
  end loop;
end $$;
comment on function private.overwrite_conversations(uuid, uuid[], text, text) is
  'Overwrites the personal data in conversations and all rows that belong to them, in the live tables (suffix empty) or the archives. The rows stay and are counted as before. Security definer, called by other definers only, because no role may write stored messages directly.';

create function private.erase_contact(p_contact uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('data.erase');
  v_contact public.contacts;
  v_live uuid[];
  v_archived uuid[];
  v_words text;
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  select k.* into v_contact from public.contacts k
  where k.company_id = v_company and k.id = p_contact for update;
  if v_contact.id is null then
    return 'not_found';
  elsif v_contact.erased_at is not null then
    return 'erased_before';
  end if;
  select coalesce(array_agg(c.id), '{}') into v_live from (
    select c.id from public.conversations c
    where c.company_id = v_company and c.channel_account_id = v_contact.channel_account_id
      and c.end_user_id = v_contact.end_user_id
    order by c.id for update) c;
  select coalesce(array_agg(c.id), '{}') into v_archived from (
    select c.id from public.conversations_archived c
    where c.company_id = v_company and c.channel_account_id = v_contact.channel_account_id
      and c.end_user_id = v_contact.end_user_id
    order by c.id for update) c;
  perform private.end_for_erasure(v_company, i.id) from unnest(v_live) i (id);
  -- What other systems were asked for these conversations.
  update public.integration_logs l
  set request_data = null, response_data = null, error_message = null
  where l.company_id = v_company and (
    exists (select from public.messages m where m.company_id = l.company_id
      and m.id = l.triggered_by_message_id and m.conversation_id = any (v_live))
    or exists (select from public.messages_archived m where m.company_id = l.company_id
      and m.id = l.triggered_by_message_id and m.conversation_id = any (v_archived)));
  -- What the channel sent of this person and was set aside, raw: whoever's id stands in it as a word.
  v_words := '(^|[^0-9A-Za-z_])'
    || regexp_replace(v_contact.end_user_id, '([^0-9A-Za-z_])', '\\\1', 'g') || '($|[^0-9A-Za-z_])';
  delete from public.inbound_events e
  where e.company_id = v_company and e.channel_account_id = v_contact.channel_account_id
    and (encode(e.payload, 'escape') ~ v_words or e.external_id ~ v_words);
  delete from public.visitor_sessions v
  where v.company_id = v_company and v.channel_account_id = v_contact.channel_account_id
    and v.id::text = v_contact.end_user_id;
  perform private.overwrite_conversations(v_company, v_live, '', 'erased-' || p_contact);
  perform private.overwrite_conversations(
    v_company, v_archived, '_archived', 'erased-' || p_contact);
  -- Their changed messages bring these back, without the person.
  delete from public.conversation_search s
  where s.company_id = v_company and s.conversation_id = any (v_live);
  update public.contacts k
  set end_user_id = 'erased-' || p_contact, name = null, erased_at = now()
  where k.company_id = v_company and k.id = p_contact;
  perform private.record_erasure(v_company, 'contacts', i.id)
  from unnest(v_live || v_archived || p_contact) i (id);
  return 'erased';
end $$;
comment on function private.erase_contact(uuid) is
  'The owner or an administrador erases a contact. Texts, names and identifiers are overwritten in the live tables and the archives; the numbers of messages still count. Outcome: erased, erased_before or not_found. Security definer, called by staff and API keys, because no role may write stored messages directly.';
grant execute on function private.erase_contact(uuid) to authenticated;

create function private.erase_user(p_user uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid := private.company_id('data.erase');
  v_user public.users;
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  select u.* into v_user from public.users u
  where u.company_id = v_company and u.id = p_user for update;
  if v_user.id is null then
    return 'not_found';
  elsif private.level(v_user.role) >= (select private.level(private.user_role())) then
    return 'forbidden';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id in (
    select s.conversation_id from public.hitl_sessions s
    where s.company_id = v_company and s.operator_id = p_user and s.ended_at is null)
  order by c.id for update;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = v_company and p_user in (t.from_user_id, t.to_user_id)
    and t.status = 'pending';
  update public.hitl_sessions s set status = 'pending', operator_id = null
  where s.company_id = v_company and s.operator_id = p_user and s.ended_at is null;
  update public.chatbot_operators o set is_active = false
  where o.company_id = v_company and o.operator_id = p_user and o.is_active;
  update public.api_keys k set revoked_at = coalesce(k.revoked_at, now())
  where k.company_id = v_company and k.created_by = p_user;
  -- First, while the address still tells which invitations were this person's.
  perform private.record_erasure(v_company, 'users', p_user);
  delete from public.chatbot_supervisors s
  where s.company_id = v_company and s.supervisor_id = p_user;
  delete from public.login_sessions s where s.company_id = v_company and s.user_id = p_user;
  delete from public.notifications n where n.company_id = v_company and n.user_id = p_user;
  delete from public.canned_responses r where r.company_id = v_company and r.owner_id = p_user;
  update public.user_invitations i
  set email = 'erased-' || i.id || '@erased.invalid', first_name = null, last_name = null
  where i.company_id = v_company and (i.accepted_by_user_id = p_user or i.email = v_user.email);
  update public.users u
  set email = 'erased-' || u.id || '@erased.invalid', first_name = 'Persona', last_name = 'borrada',
    avatar_url = null, phone = null, permissions = '{}', is_active = false, auth_user_id = null
  where u.company_id = v_company and u.id = p_user;
  -- The login goes with its last membership. It stays where the company's provider brought the
  -- person here and the person proved the mailbox elsewhere: such a login is not the company's.
  delete from auth.users a
  where a.id = v_user.auth_user_id
    and not exists (select from public.users u where u.auth_user_id = a.id)
    and not (a.email_confirmed_at is not null and exists (
      select from public.external_identities i
      where i.company_id = v_company and i.user_id = p_user));
  return 'erased';
end $$;
comment on function private.erase_user(uuid) is
  'Erases a user below the caller. The person''s work stays, without a name; open takeovers return to the queue. Outcome: erased, forbidden or not_found. Security definer, called by staff and API keys, because it also deletes the login.';
grant execute on function private.erase_user(uuid) to authenticated;

create function private.erasure_order() returns table (place bigint, tenant_table regclass, key name)
language sql stable set search_path = '' as $$
  with recursive tenant as (
    select c.oid, case when c.relname = 'companies' then 'id' else 'company_id' end::name as key
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname not like 'audit\_%'
      and (c.relname = 'companies' or exists (select from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attname = 'company_id' and not a.attisdropped))
  ),
  deep (oid, depth) as (
    select t.oid, 0 from tenant t
    union
    select k.confrelid, d.depth + 1
    from deep d
    join pg_catalog.pg_constraint k on k.contype = 'f' and k.conrelid = d.oid
      and k.confrelid <> k.conrelid
    where d.depth < 100
  )
  select row_number() over (order by max(d.depth), t.oid), t.oid::regclass, t.key
  from tenant t join deep d on d.oid = t.oid
  group by t.oid, t.key
$$;
comment on function private.erasure_order() is
  'Returns all tenant tables except the audit, from the catalog, each before the tables that it refers to; companies is last.';

create function private.erase_company(p_company uuid, p_force boolean DEFAULT false, p_limit integer DEFAULT 5000, p_now timestamp with time zone DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_company public.companies;
  v_left bigint := p_limit;
  v_gone bigint;
  v_table record;
begin
  if not exists (select from pg_catalog.pg_roles r
    where r.rolname = current_user and (r.rolsuper or r.rolbypassrls)) then
    raise exception 'only the migrating login erases a company'
      using errcode = 'insufficient_privilege';
  end if;
  select c.* into v_company from public.companies c where c.id = p_company for update;
  if v_company.id is null then
    -- Triggers may have left something in a queue that the company's own row did not hold back.
    null;
  elsif not (p_force or v_company.subscription_status = 'cancelled'
    and coalesce(v_company.subscription_ends_at <= p_now - interval '30 days', false)) then
    raise exception 'the company has not been closed for 30 days' using errcode = 'NA004';
  else
    update public.companies c set subscription_status = 'cancelled'
    where c.id = p_company and c.subscription_status <> 'cancelled';
    if to_regprocedure('private.shred_audit_company(uuid)') is not null then
      execute 'select private.shred_audit_company($1)' using p_company;
    end if;
    delete from auth.users a using public.users u
    where u.company_id = p_company and a.id = u.auth_user_id
      and not exists (select from public.users other
        where other.auth_user_id = a.id and other.company_id <> p_company)
      -- Neither founded nor invited: the company's provider brought them. Where they proved the
      -- mailbox themselves, the login is not the company's.
      and not (a.email_confirmed_at is not null and not u.is_owner
        and u.accepted_invitation_at is null);
  end if;
  delete from jobs.procrastinate_jobs j
  where j.args ->> 'company_id' = p_company::text and j.status <> 'doing';
  for v_table in
    select t.* from private.erasure_order() t order by t.place
  loop
    execute format(
      'delete from %1$s where ctid = any (array(select ctid from %1$s where %2$I = $1 limit $2))',
      v_table.tenant_table, v_table.key)
    using p_company, case
      -- Rows that refer to one another go at once.
      when exists (select from pg_catalog.pg_constraint k where k.contype = 'f'
        and k.conrelid = v_table.tenant_table and k.confrelid = k.conrelid) then null
      -- The company itself only when nothing else was left.
      when v_table.tenant_table = 'public.companies'::regclass and v_left < p_limit then 0
      else v_left end;
    get diagnostics v_gone = row_count;
    v_left := v_left - v_gone;
    exit when v_left <= 0;
  end loop;
  return p_limit - v_left;
end $_$;
comment on function private.erase_company(uuid, boolean, integer, timestamptz) is
  'Deletes about p_limit rows of a company that has been closed for 30 days (or of any company, with p_force); returns the number. Call it, each time in a transaction of its own, until it returns 0; a crash in between loses nothing. Only the migrating login may call it, and it is no security definer, so that no role that serves traffic may delete companies.';

-- 80_seed_plans.sql ------------------------------------------------------------------------------
-- Seed: the plans. -1 is unlimited; a price of null is agreed with each customer.
-- The migrating login writes the seed rows, because FORCE row level security hides all rows from
-- the tables' owner.

reset role;

insert into public.plans (
  plan, rank, monthly_message_limit, max_chatbots, max_users, max_integrations,
  max_document_characters, max_storage_mb, max_hitl_concurrent, monthly_price_usd, channels,
  requests_per_minute, visitor_conversations_per_hour
)
values
  ('free', 1, 500, 1, 2, 0, 0, 0, 0, 0.00, '{whatsapp,web}', 120, 60),
  ('starter', 2, 3000, 2, 3, 1, 50000, 5, 1, 39.00, '{whatsapp,telegram,web}', 300, 300),
  ('professional', 3, 8000, 3, 8, 3, 250000, 20, 3, 89.00, '{whatsapp,telegram,slack,web}', 600, 800),
  ('business', 4, 20000, 6, 15, 6, 750000, 50, 6, null, '{whatsapp,telegram,slack,web}', 1200, 2000),
  ('enterprise', 5, -1, -1, -1, -1, -1, -1, 25, null, '{whatsapp,telegram,slack,web}', 3000, 10000);

-- 81_seed_permissions.sql ------------------------------------------------------------------------
-- Seed: the permissions, and the scope that each role has of them.

insert into public.permissions
  (position, name, owner, administrador, supervisor, operador, is_read, is_narrowable, for_keys)
values
  (1, 'company.read', 'all', 'all', 'all', 'all', true, false, 'always'),
  (2, 'company.edit', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (3, 'company.transfer', 'all', 'none', 'none', 'none', false, false, 'never'),
  (4, 'company.close', 'all', 'none', 'none', 'none', true, false, 'never'),
  (5, 'billing.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  -- A company that has not paid must still be able to pay, so this permission counts as a read.
  (6, 'billing.manage', 'all', 'none', 'none', 'none', true, false, 'never'),
  (10, 'users.read', 'all', 'all', 'juniors', 'self', true, true, 'by_scope'),
  (11, 'team.read', 'all', 'all', 'all', 'colleagues', true, true, 'by_scope'),
  (12, 'profile.edit', 'self', 'self', 'self', 'self', false, false, 'never'),
  (13, 'users.manage', 'below', 'below', 'none', 'none', false, true, 'by_scope'),
  (14, 'invitations.read', 'below', 'below', 'none', 'none', true, true, 'by_scope'),
  (15, 'invitations.manage', 'below', 'below', 'none', 'none', false, true, 'by_scope'),
  (16, 'notifications.read', 'self', 'self', 'self', 'self', true, false, 'never'),
  (20, 'api_keys.read', 'all', 'all', 'none', 'none', true, true, 'never'),
  (21, 'api_keys.manage', 'all', 'all', 'none', 'none', false, true, 'never'),
  (22, 'webhooks.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (23, 'webhooks.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (24, 'integrations.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (25, 'integrations.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (26, 'sso.read', 'all', 'all', 'none', 'none', true, true, 'never'),
  (27, 'sso.manage', 'all', 'none', 'none', 'none', false, false, 'never'),
  (28, 'language_models.read', 'all', 'all', 'all', 'none', true, true, 'by_scope'),
  (29, 'language_models.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (30, 'channels.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (31, 'channels.manage', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (32, 'chatbots.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (33, 'chatbots.edit', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (34, 'chatbots.retire', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (35, 'chatbots.assign_operators', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (36, 'chatbots.assign_supervisor', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (37, 'templates.read', 'all', 'all', 'all', 'all', true, false, 'always'),
  (40, 'conversations.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (41, 'conversations.reply', 'all', 'all', 'all', 'bots', false, true, 'by_scope'),
  (42, 'conversations.transfer', 'all', 'all', 'all', 'bots', false, true, 'by_scope'),
  (43, 'conversations.assign', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (44, 'conversations.import', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (45, 'canned_responses.read', 'all', 'all', 'all', 'all', true, true, 'by_scope'),
  (46, 'canned_responses.edit', 'all', 'all', 'all', 'own', false, true, 'by_scope'),
  (50, 'documents.read', 'all', 'all', 'all', 'all', true, true, 'by_scope'),
  (51, 'documents.edit', 'all', 'all', 'all', 'none', false, true, 'by_scope'),
  (60, 'analytics.read', 'all', 'all', 'all', 'bots', true, true, 'by_scope'),
  (61, 'metrics.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (62, 'audit.read', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (70, 'data.export', 'all', 'all', 'none', 'none', true, true, 'by_scope'),
  (71, 'data.erase', 'all', 'all', 'none', 'none', false, true, 'by_scope'),
  (72, 'data.restore', 'all', 'all', 'none', 'none', false, true, 'by_scope');

-- 82_seed_lists.sql ------------------------------------------------------------------------------
-- Seed: industries, public mail domains, the embedding model and the one row of session rules.

insert into public.industries (industry, position) values
  ('retail', 1), ('ecommerce', 2), ('health', 3), ('beauty', 4), ('restaurants', 5), ('hospitality', 6),
  ('education', 7), ('real_estate', 8), ('professional_services', 9), ('home_services', 10),
  ('automotive', 11), ('logistics', 12), ('technology', 13), ('finance', 14), ('other', 15);

-- Anybody can get an address in these domains, so no company can claim them.
insert into public.public_mail_domains (domain)
select unnest('{126.com,163.com,aol.com,arnet.com.ar,bluewin.ch,bol.com.br,comcast.net,
  duck.com,etb.net.co,fastmail.com,fibertel.com.ar,free.fr,gmail.com,gmx.com,gmx.de,gmx.net,
  googlemail.com,hey.com,hotmail.be,hotmail.cl,hotmail.co,hotmail.co.uk,hotmail.com,
  hotmail.com.ar,hotmail.com.br,hotmail.com.mx,hotmail.es,hotmail.fr,hotmail.it,hushmail.com,
  icloud.com,inbox.com,laposte.net,libero.it,live.cl,live.co.uk,live.com,live.com.ar,
  live.com.mx,live.com.pt,live.fr,live.nl,mac.com,mail.com,mail.ru,mailbox.org,mailinator.com,
  me.com,msn.com,naver.com,orange.fr,outlook.cl,outlook.co,outlook.com,outlook.com.ar,
  outlook.com.br,outlook.com.mx,outlook.es,outlook.fr,outlook.pt,pm.me,posteo.de,prodigy.net.mx,
  proton.me,protonmail.com,qq.com,rediffmail.com,rocketmail.com,sapo.pt,sky.com,speedy.com.ar,
  t-online.de,telefonica.net,terra.com,terra.com.br,terra.es,tuta.com,tutanota.com,une.net.co,
  uol.com.br,verizon.net,vtr.net,wanadoo.fr,web.de,yahoo.ca,yahoo.cl,yahoo.co,yahoo.co.in,
  yahoo.co.uk,yahoo.com,yahoo.com.ar,yahoo.com.br,yahoo.com.co,yahoo.com.mx,yahoo.com.pe,
  yahoo.com.ve,yahoo.es,yahoo.fr,yahoo.it,yandex.com,yandex.ru,ymail.com,yopmail.com,
  zohomail.com}'::text[]);

insert into public.embedding_models (name, dimensions) values ('multilingual-e5-small', 384);

insert into private.session_rules default values;

-- 83_seed_templates.sql --------------------------------------------------------------------------
-- Seed: the templates that bots start from. Each has an industry, working hours, keywords that
-- request a person, and example conversations.

insert into public.chatbot_templates (
  name, description, industry, category, is_featured, system_prompt_template, default_personality,
  recommended_settings, example_conversations
)
values
  ('Atención al cliente', 'Responde las preguntas de todos los días con tus documentos y llama a una persona cuando hace falta.',
    'other', 'customer_service', true,
    'Eres {{persona}}, del equipo de atención de {{company_name}}. Saludas con calidez, escuchas la pregunta completa y contestas en pocas frases, una idea a la vez. Si la persona está molesta, reconoce el problema antes de explicar nada. Para lo que no puedas resolver, comparte este contacto: {{contact}}. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "friendly", "language": "es", "persona": "Camila"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["queja", "reclamo", "gerente"], "fallback_message": "No tengo ese dato a la mano. ¿Te comunico con alguien del equipo?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Horario y ubicación", "turns": [{"from": "customer", "text": "Buenas, ¿hasta qué hora atienden hoy?"}, {"from": "bot", "text": "¡Hola! Hoy atendemos hasta las 6:00 de la tarde."}, {"from": "customer", "text": "¿Y el sábado?"}, {"from": "bot", "text": "Los sábados abrimos de 9:00 a 1:00. ¿Te ayudo con algo más?"}, {"from": "customer", "text": "No, muchas gracias"}, {"from": "bot", "text": "¡Con gusto! Aquí estoy si necesitas algo."}]},
      {"title": "Un reclamo", "turns": [{"from": "customer", "text": "Hola, buenas tardes"}, {"from": "bot", "text": "¡Hola! Qué gusto saludarte. ¿En qué te ayudo?"}, {"from": "customer", "text": "Tengo un reclamo, me cobraron dos veces"}, {"from": "bot", "text": "Lamento mucho la molestia. Te comunico ahora mismo con una persona del equipo para que lo revise contigo. Mientras llega, escribe la fecha del cobro y los últimos cuatro dígitos del recibo."}]}]'),
  ('Ventas en tienda', 'Presenta tus productos, resuelve dudas de precio y pasa a un vendedor a quien quiere comprar.',
    'retail', 'sales', true,
    'Eres {{persona}}, del equipo de ventas de {{company_name}}. Primero entiende qué necesita la persona y para qué lo va a usar; después recomienda una o dos opciones, con su precio. Cuando quiera comprar o pida cotización, pasa la conversación a un vendedor. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "helpful", "language": "es", "persona": "Andrés"}',
    '{"working_hours": {"monday": [["09:00", "19:00"]], "tuesday": [["09:00", "19:00"]], "wednesday": [["09:00", "19:00"]], "thursday": [["09:00", "19:00"]], "friday": [["09:00", "19:00"]], "saturday": [["09:00", "19:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["comprar", "cotización", "descuento por cantidad"], "fallback_message": "Ese producto no lo encuentro en nuestra lista. ¿Te comunico con un vendedor para confirmarlo?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Elegir un producto", "turns": [{"from": "customer", "text": "Busco pintura para una pared con humedad"}, {"from": "bot", "text": "¡Claro que sí! Para humedad tenemos el impermeabilizante acrílico de 4 litros, a $ 89.900. ¿Es una pared interior o exterior?"}, {"from": "customer", "text": "Exterior, de unos 20 metros"}, {"from": "bot", "text": "Un envase de 4 litros rinde entre 18 y 22 m² por mano, y se recomiendan dos manos: con dos vas bien. ¿Quieres que un vendedor te confirme existencias?"}, {"from": "customer", "text": "Sí, quiero comprar dos"}, {"from": "bot", "text": "¡Perfecto! Te paso con un vendedor. En un momento te escribe."}]},
      {"title": "Precios y medios de pago", "turns": [{"from": "customer", "text": "¿Reciben tarjeta?"}, {"from": "bot", "text": "Sí: tarjeta débito y crédito, transferencia y efectivo."}, {"from": "customer", "text": "¿Y a crédito?"}, {"from": "bot", "text": "Tenemos crédito a 30 días para empresas con cupo aprobado. ¿Te comunico con quien lo gestiona?"}]}]'),
  ('Citas en consultorio', 'Explica servicios, preparación y horarios, y pasa a recepción a quien quiere reservar o mover una cita.',
    'health', 'support', true,
    'Eres {{persona}}, de la recepción de {{company_name}}. Explicas servicios, preparación para exámenes, horarios y formas de pago con un trato cercano y respetuoso. No das diagnósticos ni recomiendas medicamentos. Si alguien describe una urgencia, indícale que llame a la línea de emergencias de su país o vaya al centro más cercano, y pasa la conversación a recepción. Para reservar, mover o cancelar, pasa la conversación a recepción. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Marcela"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["urgencia", "dolor fuerte", "reservar", "mover mi cita", "cancelar mi cita", "cancelar cita"], "fallback_message": "Prefiero que recepción te confirme ese dato. ¿Te comunico?", "response_delay_ms": 500, "auto_escalate_after_minutes": 5}',
    '[{"title": "Preparación de un examen", "turns": [{"from": "customer", "text": "¿Necesito ayuno para el perfil lipídico?"}, {"from": "bot", "text": "Sí, se recomiendan de 9 a 12 horas de ayuno. Puede tomar agua."}, {"from": "customer", "text": "¿Y puedo tomar mi medicina?"}, {"from": "bot", "text": "Eso lo debe confirmar su médico. ¿Le paso con recepción para que le orienten?"}, {"from": "customer", "text": "Sí, páseme con alguien, por favor"}, {"from": "bot", "text": "Con gusto, le comunico con recepción."}]},
      {"title": "Pedir una cita", "turns": [{"from": "customer", "text": "¿Hacen limpieza dental?"}, {"from": "bot", "text": "Sí, de lunes a sábado, y dura unos 40 minutos. ¿Le gustaría reservar?"}, {"from": "customer", "text": "Sí, quiero reservar una"}, {"from": "bot", "text": "Con mucho gusto. Le comunico con recepción para elegir el día."}]}]'),
  ('Odontología', 'Cuenta tratamientos, precios de referencia y cuidados, y deja listas las citas para recepción.',
    'health', 'customer_service', false,
    'Eres {{persona}}, de {{company_name}}. Ayudas a pacientes a entender los tratamientos, lo que incluyen y los cuidados antes y después. Tranquilizas a quien siente miedo, sin prometer resultados. Los precios son de referencia hasta la valoración. Para agendar o ante dolor, sangrado o un golpe, pasa la conversación a recepción; el contacto directo es {{contact}}. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "friendly", "language": "es", "persona": "Valentina"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["dolor", "sangrado", "urgencia", "agendar"], "fallback_message": "Eso lo confirma mejor la doctora. ¿Te comunico con recepción?", "response_delay_ms": 500, "auto_escalate_after_minutes": 5}',
    '[{"title": "Blanqueamiento", "turns": [{"from": "customer", "text": "¿El blanqueamiento duele?"}, {"from": "bot", "text": "No debería doler; algunas personas sienten sensibilidad uno o dos días. ¿Has tenido dientes sensibles?"}, {"from": "customer", "text": "Un poco"}, {"from": "bot", "text": "Entonces la doctora te recomienda una pasta desensibilizante dos semanas antes. ¿Quieres agendar una valoración?"}, {"from": "customer", "text": "Sí, quiero agendar"}, {"from": "bot", "text": "¡Listo! Te paso con recepción para elegir el día."}]},
      {"title": "Cuidados después de una extracción", "turns": [{"from": "customer", "text": "Me sacaron una muela ayer, ¿qué puedo comer?"}, {"from": "bot", "text": "Hoy y mañana, alimentos blandos y fríos o tibios: sopas, yogur, puré. Evita el pitillo y las bebidas muy calientes."}, {"from": "customer", "text": "¿Y si tengo mucho dolor?"}, {"from": "bot", "text": "Eso lo debe valorar la clínica. Te comunico ahora mismo con recepción."}]}]'),
  ('Tienda en línea: pedidos y envíos', 'Explica envíos, tiempos y pagos, y deja en manos de una persona los pedidos con problemas.',
    'ecommerce', 'customer_service', true,
    'Eres {{persona}}, del equipo de servicio de {{company_name}}, una tienda en línea. Explicas costos y tiempos de envío, medios de pago y cómo hacer un pedido. No puedes ver pedidos: cuando alguien pregunte por el suyo, pasa la conversación a una persona y pide que escriba el número mientras la atienden. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "friendly", "language": "es", "persona": "Sofía"}',
    '{"working_hours": {"monday": [["09:00", "19:00"]], "tuesday": [["09:00", "19:00"]], "wednesday": [["09:00", "19:00"]], "thursday": [["09:00", "19:00"]], "friday": [["09:00", "19:00"]], "saturday": [["09:00", "19:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["mi pedido", "no ha llegado", "no me ha llegado", "reembolso"], "fallback_message": "No encuentro ese dato. ¿Quieres que una persona del equipo lo revise contigo?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Costo del envío", "turns": [{"from": "customer", "text": "¿Cuánto cuesta el envío a Arequipa?"}, {"from": "bot", "text": "¡Hola! El envío a Arequipa cuesta S/ 15 y es gratis en compras desde S/ 199."}, {"from": "customer", "text": "¿Cuánto demora?"}, {"from": "bot", "text": "Entre 3 y 5 días hábiles después de confirmar el pago. ¿Ya tienes tu carrito listo?"}, {"from": "customer", "text": "Sí, pero no sé cómo pagar con Yape"}, {"from": "bot", "text": "Al final eliges «Yape», escaneas el código y subes la captura. Si algo falla, aquí te ayudo."}]},
      {"title": "Un pedido que no llega", "turns": [{"from": "customer", "text": "¿Cuánto tarda un envío a Cusco?"}, {"from": "bot", "text": "Entre 3 y 5 días hábiles después de confirmar el pago."}, {"from": "customer", "text": "Mi pedido no ha llegado y ya pasaron 8 días"}, {"from": "bot", "text": "Siento mucho la demora. Te comunico con una persona del equipo para rastrearlo. Mientras llega, escribe aquí el número de pedido."}]}]'),
  ('Cambios y garantías', 'Guía cambios, devoluciones y garantías paso a paso, según tu política.',
    'ecommerce', 'support', false,
    'Eres {{persona}}, del equipo de posventa de {{company_name}}. Guías a la persona paso a paso para cambiar, devolver o reclamar garantía, según la política vigente. Pregunta primero la fecha de compra y el estado del producto. Si el caso está fuera de la política o la persona insiste, pásala a una persona con un resumen corto. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "helpful", "language": "es", "persona": "Daniel"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["devolver mi dinero", "abogado", "defensa del consumidor"], "fallback_message": "Ese caso lo debe revisar una persona de posventa. ¿Te comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Cambiar una talla", "turns": [{"from": "customer", "text": "Compré unos tenis y me quedaron chicos"}, {"from": "bot", "text": "¡Te ayudo! ¿Hace cuánto los compraste y los has usado?"}, {"from": "customer", "text": "Hace una semana, solo me los probé"}, {"from": "bot", "text": "Perfecto: tienes 30 días para cambiarlos si están sin uso y con su caja. El primer cambio de talla es gratis."}, {"from": "customer", "text": "¿Cómo hago?"}, {"from": "bot", "text": "Entra a «Mis compras», elige «Cambiar» y la nueva talla; te llega la guía al correo. ¿Te comunico con alguien para hacerlo juntos?"}]},
      {"title": "Garantía", "turns": [{"from": "customer", "text": "La licuadora dejó de prender a los dos meses"}, {"from": "bot", "text": "Lamento eso. La garantía cubre fallas de fábrica por 12 meses. ¿Conservas la factura?"}, {"from": "customer", "text": "Sí, y quiero hablar con una persona"}, {"from": "bot", "text": "Claro que sí. Te paso con posventa para recoger el equipo; ten a la mano la factura y una foto de la placa."}]}]'),
  ('Restaurante: carta y domicilios', 'Muestra la carta, horarios y zonas de entrega, y pasa el pedido a una persona.',
    'restaurants', 'sales', true,
    'Eres {{persona}}, de {{company_name}}, un restaurante. Cuentas la carta con antojo pero sin exagerar, respondes por ingredientes según la carta, y explicas zonas y tiempos de entrega. Para tomar un pedido o una reserva, pasa la conversación al equipo. Ante una alergia, pasa siempre la conversación a una persona. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "friendly", "language": "es", "persona": "Lupita"}',
    '{"working_hours": {"monday": [["11:30", "22:00"]], "tuesday": [["11:30", "22:00"]], "wednesday": [["11:30", "22:00"]], "thursday": [["11:30", "22:00"]], "friday": [["11:30", "01:00"]], "saturday": [["11:30", "01:00"]], "sunday": [["12:00", "20:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["hacer un pedido", "hacer mi pedido", "quiero pedir", "reservar", "alergia"], "fallback_message": "Deja que alguien de la cocina te confirme. ¿Te comunico?", "response_delay_ms": 500, "auto_escalate_after_minutes": 3}',
    '[{"title": "Opciones vegetarianas", "turns": [{"from": "customer", "text": "¿Tienen algo sin carne?"}, {"from": "bot", "text": "¡Claro! Las enchiladas de rajas con queso, los tacos de hongo y la sopa azteca sin pollo. ¿Se te antoja alguno?"}, {"from": "customer", "text": "Los tacos de hongo, ¿pican?"}, {"from": "bot", "text": "Son suaves; la salsa va aparte y tú decides. ¿Quieres que alguien tome tu pedido?"}, {"from": "customer", "text": "Sí, quiero pedir dos órdenes"}, {"from": "bot", "text": "¡Listo! Te paso con el equipo para tomarlo."}]},
      {"title": "Zona de entrega", "turns": [{"from": "customer", "text": "¿Llegan a la colonia Del Valle?"}, {"from": "bot", "text": "Sí, entregamos ahí. El envío cuesta $ 35 y tarda entre 35 y 45 minutos."}, {"from": "customer", "text": "¿Hay pedido mínimo?"}, {"from": "bot", "text": "El mínimo es de $ 180. ¿Quieres ver la carta del día?"}]}]'),
  ('Hotel y hospedaje', 'Responde por habitaciones, servicios y políticas, y pasa a reservas a quien quiere quedarse.',
    'hospitality', 'customer_service', false,
    'Eres {{persona}}, de la recepción de {{company_name}}. Das la bienvenida, describes habitaciones, servicios, horarios de entrada y salida y políticas con amabilidad de buen anfitrión. No confirmas disponibilidad ni tarifas del día: para eso pasa la conversación a reservas o comparte {{contact}}. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Isabel"}',
    '{"working_hours": {"monday": [["00:00", "24:00"]], "tuesday": [["00:00", "24:00"]], "wednesday": [["00:00", "24:00"]], "thursday": [["00:00", "24:00"]], "friday": [["00:00", "24:00"]], "saturday": [["00:00", "24:00"]], "sunday": [["00:00", "24:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["reservar", "cancelar reserva", "disponibilidad"], "fallback_message": "Permítame confirmarlo con recepción. ¿Le comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Antes de llegar", "turns": [{"from": "customer", "text": "¿A qué hora puedo hacer el check-in?"}, {"from": "bot", "text": "La entrada es desde las 3:00 p. m. Si llega antes, con gusto guardamos su equipaje."}, {"from": "customer", "text": "¿Tienen estacionamiento?"}, {"from": "bot", "text": "Sí, es gratuito para huéspedes y está sujeto a espacio. ¿Puedo ayudarle con algo más?"}]},
      {"title": "Viajar con mascota", "turns": [{"from": "customer", "text": "¿Aceptan perros?"}, {"from": "bot", "text": "Sí, recibimos perros de hasta 12 kg en habitaciones de planta baja, con un cargo por estadía."}, {"from": "customer", "text": "¿De cuánto es?"}, {"from": "bot", "text": "De $ 25 por estadía. ¿Quiere que reservas le confirme disponibilidad para sus fechas?"}, {"from": "customer", "text": "Sí, ¿hay disponibilidad del 12 al 15?"}, {"from": "bot", "text": "Con gusto, le comunico con reservas."}]}]'),
  ('Admisiones', 'Presenta programas, requisitos y costos a quien quiere estudiar, y lo pasa a un asesor de admisiones.',
    'education', 'sales', false,
    'Eres {{persona}}, del equipo de admisiones de {{company_name}}. Orientas con entusiasmo y claridad sobre programas, requisitos, fechas, costos y becas. Pregunta qué quiere estudiar y en qué horario puede. A quien muestre interés, ofrécele hablar con admisiones; el contacto es {{contact}}. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "friendly", "language": "es", "persona": "Mateo"}',
    '{"working_hours": {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], "tuesday": [["08:00", "12:00"], ["14:00", "18:00"]], "wednesday": [["08:00", "12:00"], ["14:00", "18:00"]], "thursday": [["08:00", "12:00"], ["14:00", "18:00"]], "friday": [["08:00", "12:00"], ["14:00", "18:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["inscribirme", "solicitar una beca", "asesor de admisiones"], "fallback_message": "Ese dato te lo da mejor admisiones. ¿Te comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Conocer un programa", "turns": [{"from": "customer", "text": "¿Tienen cursos de enfermería?"}, {"from": "bot", "text": "¡Sí! El técnico en enfermería dura 18 meses, con prácticas desde el segundo semestre. ¿Prefieres estudiar de día o de noche?"}, {"from": "customer", "text": "De noche, porque trabajo"}, {"from": "bot", "text": "Hay grupo nocturno de lunes a jueves, de 6:30 a 9:30. ¿Te cuento los requisitos?"}, {"from": "customer", "text": "Sí"}, {"from": "bot", "text": "Documento de identidad, diploma de bachiller y una entrevista corta. ¿Quieres agendarla con admisiones?"}]},
      {"title": "Costos y becas", "turns": [{"from": "customer", "text": "¿Cuánto cuesta la matrícula?"}, {"from": "bot", "text": "El semestre cuesta $ 1.950.000 y puedes pagarlo en cinco cuotas sin intereses."}, {"from": "customer", "text": "¿Hay becas?"}, {"from": "bot", "text": "Hay becas del 20 al 50 % por promedio y por situación económica. Un asesor puede revisar tu caso. ¿Te comunico?"}]}]'),
  ('Secretaría académica', 'Atiende a estudiantes y familias: calendario, certificados, pagos y trámites.',
    'education', 'support', false,
    'Eres {{persona}}, de la secretaría de {{company_name}}. Ayudas a estudiantes y familias con el calendario, los certificados, los pagos y los trámites, con paciencia y sin tecnicismos. No compartes notas ni datos de estudiantes: para eso pasa la conversación a una persona de secretaría. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Paola"}',
    '{"working_hours": {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], "tuesday": [["08:00", "12:00"], ["14:00", "18:00"]], "wednesday": [["08:00", "12:00"], ["14:00", "18:00"]], "thursday": [["08:00", "12:00"], ["14:00", "18:00"]], "friday": [["08:00", "12:00"], ["14:00", "18:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["certificado urgente", "mis notas", "retiro"], "fallback_message": "Ese trámite lo ve secretaría directamente. ¿Le comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Pedir un certificado", "turns": [{"from": "customer", "text": "¿Cómo saco un certificado de estudios?"}, {"from": "bot", "text": "Se solicita por el portal, en «Trámites». Cuesta $ 18.000 y está listo en tres días hábiles."}, {"from": "customer", "text": "¿Lo mandan por correo?"}, {"from": "bot", "text": "Sí, llega firmado digitalmente al correo registrado. ¿Tiene problemas para entrar al portal?"}, {"from": "customer", "text": "No, gracias"}, {"from": "bot", "text": "Perfecto. Aquí estamos para lo que necesite."}]},
      {"title": "Fechas", "turns": [{"from": "customer", "text": "¿Cuándo empiezan las vacaciones?"}, {"from": "bot", "text": "El último día de clases es el 28 de noviembre y se regresa el 19 de enero."}, {"from": "customer", "text": "¿Y la matrícula?"}, {"from": "bot", "text": "La matrícula ordinaria va del 1 al 15 de diciembre. ¿Le comparto los pasos?"}]}]'),
  ('Inmobiliaria', 'Cuenta las propiedades disponibles y sus requisitos, y agenda la visita con un asesor.',
    'real_estate', 'sales', false,
    'Eres {{persona}}, de {{company_name}}, una inmobiliaria. Preguntas si busca arrendar o comprar, la zona y el presupuesto, y presentas hasta tres opciones de la lista vigente. Explicas requisitos y documentos. Para visitar, negociar o enviar papeles, pasa la conversación a un asesor. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Ricardo"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["visita", "agendar", "negociar", "vender mi casa"], "fallback_message": "No tengo esa propiedad en la lista. ¿Le comunico con un asesor?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Buscar apartamento", "turns": [{"from": "customer", "text": "Busco apartamento en arriendo de dos habitaciones"}, {"from": "bot", "text": "Con gusto. ¿En qué zona y con qué presupuesto?"}, {"from": "customer", "text": "Por Chapinero, hasta 2 millones"}, {"from": "bot", "text": "Tengo dos: uno de 58 m² en $ 1.850.000 y otro de 62 m² en $ 1.980.000, ambos con administración incluida. ¿Le gustaría visitarlos?"}, {"from": "customer", "text": "Sí, una visita al primero"}, {"from": "bot", "text": "Perfecto, le comunico con un asesor para acordar el día."}]},
      {"title": "Requisitos", "turns": [{"from": "customer", "text": "¿Qué piden para arrendar?"}, {"from": "bot", "text": "Documento de identidad, dos últimos comprobantes de pago y un codeudor o seguro de arrendamiento."}, {"from": "customer", "text": "No tengo codeudor"}, {"from": "bot", "text": "No hay problema: puede usar el seguro de arrendamiento. ¿Quiere que un asesor le explique el costo?"}]}]'),
  ('Salón de belleza', 'Cuenta servicios, precios y cuidados, y pasa a recepción a quien quiere cita.',
    'beauty', 'customer_service', false,
    'Eres {{persona}}, de {{company_name}}, un salón de belleza. Hablas cercano y con buen gusto: explicas servicios, duración, precios y cuidados antes y después. No prometes resultados sobre cabello o piel que nadie ha visto. Para agendar, mover o cancelar, pasa la conversación a recepción. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "friendly", "language": "es", "persona": "Dani"}',
    '{"working_hours": {"monday": [["09:00", "19:00"]], "tuesday": [["09:00", "19:00"]], "wednesday": [["09:00", "19:00"]], "thursday": [["09:00", "19:00"]], "friday": [["09:00", "19:00"]], "saturday": [["09:00", "19:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["cita", "alergia", "reacción"], "fallback_message": "Eso lo vemos mejor en persona. ¿Te comunico con recepción?", "response_delay_ms": 600, "auto_escalate_after_minutes": 5}',
    '[{"title": "Color", "turns": [{"from": "customer", "text": "¿Cuánto cuesta un balayage?"}, {"from": "bot", "text": "¡Hola! El balayage va desde $ 280.000 según el largo, e incluye matiz y secado. ¿Tienes el cabello teñido?"}, {"from": "customer", "text": "Sí, de negro"}, {"from": "bot", "text": "Entonces puede necesitar más de una sesión; la estilista lo confirma al verlo. ¿Quieres una valoración sin costo?"}, {"from": "customer", "text": "Dale, quiero una cita"}, {"from": "bot", "text": "¡Listo! Te paso con recepción para elegir el día."}]},
      {"title": "Cuidados", "turns": [{"from": "customer", "text": "Me hice las cejas hoy, ¿puedo maquillarme?"}, {"from": "bot", "text": "Mejor espera 24 horas, y evita sol y vapor por dos días."}, {"from": "customer", "text": "¿Y si se ponen rojas?"}, {"from": "bot", "text": "Un poco de rojez es normal por unas horas. Si sigue mañana, cuéntanos y te atiende la especialista."}]}]'),
  ('Taller y repuestos', 'Resuelve dudas de mantenimiento, repuestos y garantías, y pasa a un asesor para cotizar.',
    'automotive', 'support', false,
    'Eres {{persona}}, del equipo de servicio de {{company_name}}, un taller. Explicas revisiones, tiempos y garantías en palabras sencillas y preguntas marca, modelo y año antes de recomendar. No diagnosticas a distancia: ante una falla de frenos, dirección o humo, aconseja no manejar y pasa la conversación a una persona. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "expert", "language": "es", "persona": "Héctor"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["cotizar", "grúa", "frenos", "se varó"], "fallback_message": "Para eso necesito que lo vea un técnico. ¿Te comunico con el taller?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Cambio de aceite", "turns": [{"from": "customer", "text": "¿Cada cuánto se cambia el aceite?"}, {"from": "bot", "text": "Con aceite sintético, cada 10.000 km o un año, lo que pase primero. ¿Qué carro tienes y de qué año?"}, {"from": "customer", "text": "Un Sandero 2019"}, {"from": "bot", "text": "Para ese motor usamos 5W-30 sintético; el servicio con filtro tarda unos 45 minutos. ¿Quieres que te coticen?"}, {"from": "customer", "text": "Sí, quiero cotizar"}, {"from": "bot", "text": "Ya te comunico con un asesor del taller."}]},
      {"title": "Una falla", "turns": [{"from": "customer", "text": "¿Atienden los sábados?"}, {"from": "bot", "text": "Sí, los sábados abrimos de 9:00 a 1:00. ¿Qué necesita tu carro?"}, {"from": "customer", "text": "Se prendió la luz de los frenos"}, {"from": "bot", "text": "Por seguridad, mejor no sigas manejando. Te comunico ahora mismo con el taller para que te orienten o envíen la grúa."}]}]'),
  ('Envíos y rastreo', 'Explica cobertura, tarifas y restricciones, y pasa los casos de guías a operaciones.',
    'logistics', 'support', false,
    'Eres {{persona}}, de servicio al cliente de {{company_name}}, una empresa de envíos. Explicas cobertura, tarifas, tiempos, empaque y artículos restringidos. No puedes rastrear guías: pasa la conversación a operaciones y pide que escriban el número mientras les atienden. Si hay mercancía dañada o perdida, explica el plazo para reclamar; a quien quiera reclamar, pásalo a operaciones. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Luis"}',
    '{"working_hours": {"monday": [["08:00", "18:00"]], "tuesday": [["08:00", "18:00"]], "wednesday": [["08:00", "18:00"]], "thursday": [["08:00", "18:00"]], "friday": [["08:00", "18:00"]], "saturday": [["09:00", "13:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["guía", "rastrear", "reclamar", "reclamación"], "fallback_message": "Ese dato lo tiene operaciones. ¿Le comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Tarifas", "turns": [{"from": "customer", "text": "¿Cuánto vale enviar 5 kilos a Guadalajara?"}, {"from": "bot", "text": "Desde Monterrey, el envío terrestre de 5 kg cuesta $ 189 y tarda de 2 a 4 días hábiles."}, {"from": "customer", "text": "¿Y por aéreo?"}, {"from": "bot", "text": "El aéreo cuesta $ 320 y llega al siguiente día hábil. ¿Le explico cómo empacar?"}]},
      {"title": "Paquete dañado", "turns": [{"from": "customer", "text": "Mi paquete llegó roto"}, {"from": "bot", "text": "Lamento lo ocurrido. Tiene 3 días hábiles para reclamar: conserve el empaque y tome fotos."}, {"from": "customer", "text": "Ya tengo las fotos, quiero reclamar"}, {"from": "bot", "text": "Muy bien. Le paso con operaciones. Mientras le atienden, escriba aquí el número de guía."}]}]'),
  ('Soporte de software', 'Guía a tus usuarios con la documentación y escala a un ingeniero con el contexto claro.',
    'technology', 'support', true,
    'Eres {{persona}}, del equipo de soporte de {{company_name}}. Guías con pasos numerados y cortos, y pides un solo dato a la vez: versión, navegador o mensaje de error exacto. Nunca pides contraseñas ni códigos. Si hay pérdida de datos, caída del servicio o dos intentos sin éxito, pasa la conversación a un ingeniero. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "expert", "language": "es", "persona": "Nico"}',
    '{"working_hours": {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], "tuesday": [["08:00", "12:00"], ["14:00", "18:00"]], "wednesday": [["08:00", "12:00"], ["14:00", "18:00"]], "thursday": [["08:00", "12:00"], ["14:00", "18:00"]], "friday": [["08:00", "12:00"], ["14:00", "18:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["caído", "perdí datos", "no puedo entrar", "facturación"], "fallback_message": "Eso no está en la documentación. ¿Te comunico con soporte?", "response_delay_ms": 600, "auto_escalate_after_minutes": 5}',
    '[{"title": "El correo no llega", "turns": [{"from": "customer", "text": "No me llega el correo para cambiar la contraseña"}, {"from": "bot", "text": "Revisemos: 1) busca en spam «restablecer»; 2) confirma que escribiste el correo con el que te registraste."}, {"from": "customer", "text": "Ya revisé y nada"}, {"from": "bot", "text": "Puede que tu empresa use inicio de sesión único; en ese caso entra con «Continuar con tu empresa». ¿Te aparece ese botón?"}, {"from": "customer", "text": "No aparece, y no puedo entrar"}, {"from": "bot", "text": "Entonces te comunico con un ingeniero para revisar tu cuenta."}]},
      {"title": "Exportar datos", "turns": [{"from": "customer", "text": "¿Cómo descargo mis facturas?"}, {"from": "bot", "text": "En «Facturación», elige el rango de fechas y toca «Exportar». Se descarga un archivo CSV."}, {"from": "customer", "text": "¿En PDF se puede?"}, {"from": "bot", "text": "Sí, cada factura tiene su PDF en el menú de tres puntos. ¿Te funcionó?"}]}]'),
  ('Despacho contable y legal', 'Explica servicios, requisitos y plazos generales, y pasa a un profesional cada caso.',
    'professional_services', 'customer_service', false,
    'Eres {{persona}}, de {{company_name}}, un despacho de profesionales. Explicas los servicios, los documentos que se piden y los plazos generales con lenguaje claro. No das consejo legal ni tributario sobre un caso: para eso pasa la conversación a un profesional. Trata todo lo que te cuenten con reserva. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Elena"}',
    '{"working_hours": {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], "tuesday": [["08:00", "12:00"], ["14:00", "18:00"]], "wednesday": [["08:00", "12:00"], ["14:00", "18:00"]], "thursday": [["08:00", "12:00"], ["14:00", "18:00"]], "friday": [["08:00", "12:00"], ["14:00", "18:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["demanda", "embargo", "requerimiento", "cita"], "fallback_message": "Ese tema debe verlo un profesional del despacho. ¿Le comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 5}',
    '[{"title": "Declaración de renta", "turns": [{"from": "customer", "text": "¿Qué necesito para la declaración?"}, {"from": "bot", "text": "Certificado de ingresos, extractos a diciembre, recibos de deducciones y la declaración anterior."}, {"from": "customer", "text": "¿Cuándo se vence?"}, {"from": "bot", "text": "Depende de los dos últimos dígitos de su documento. ¿Quiere que un contador le confirme su fecha?"}, {"from": "customer", "text": "Sí, comuníqueme con alguien, por favor"}, {"from": "bot", "text": "Con gusto, le comunico con un contador."}]},
      {"title": "Constituir una empresa", "turns": [{"from": "customer", "text": "Quiero crear una empresa"}, {"from": "bot", "text": "¡Felicitaciones! Acompañamos la elección del tipo de sociedad, los estatutos y el registro."}, {"from": "customer", "text": "¿Cuánto tarda?"}, {"from": "bot", "text": "Por lo general, de 5 a 10 días hábiles con los documentos completos. ¿Quiere que un profesional le oriente?"}]}]'),
  ('Servicios para el hogar', 'Cotiza visitas de plomería, electricidad y limpieza, y atiende primero lo urgente.',
    'home_services', 'sales', false,
    'Eres {{persona}}, de {{company_name}}, un equipo de servicios para el hogar. Preguntas qué pasó, dónde y desde cuándo, y explicas qué incluye la visita y su costo. Para agendarla, pasa la conversación al equipo. Si hay olor a gas, chispas o inundación, indica primero cómo ponerse a salvo y pasa la conversación a una persona de inmediato. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "helpful", "language": "es", "persona": "Toño"}',
    '{"working_hours": {"monday": [["09:00", "19:00"]], "tuesday": [["09:00", "19:00"]], "wednesday": [["09:00", "19:00"]], "thursday": [["09:00", "19:00"]], "friday": [["09:00", "19:00"]], "saturday": [["09:00", "19:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["huele a gas", "olor a gas", "fuga de gas", "inundación", "chispas", "cortocircuito", "urgente", "agendar"], "fallback_message": "Prefiero que un técnico te lo confirme. ¿Te comunico?", "response_delay_ms": 500, "auto_escalate_after_minutes": 2}',
    '[{"title": "Una gotera", "turns": [{"from": "customer", "text": "Tengo una gotera en el baño"}, {"from": "bot", "text": "Gracias por avisar. ¿Sale agua todo el tiempo o solo al usar la ducha?"}, {"from": "customer", "text": "Solo con la ducha"}, {"from": "bot", "text": "Entonces puede ser la regadera o el sello. La visita cuesta $ 60.000 y se abona a la reparación. ¿Quieres que el equipo te la programe?"}, {"from": "customer", "text": "Sí, quiero agendar para mañana"}, {"from": "bot", "text": "Te comunico con el equipo para confirmar la hora."}]},
      {"title": "Olor a gas", "turns": [{"from": "customer", "text": "¿Revisan instalaciones de gas?"}, {"from": "bot", "text": "Sí, con técnicos certificados. ¿Qué está pasando y desde cuándo?"}, {"from": "customer", "text": "Huele a gas en la cocina"}, {"from": "bot", "text": "Por favor: cierra la llave, abre las ventanas, no prendas luces y sal del lugar. Llama a la línea de emergencias y espera afuera. Te comunico ya con una persona de nuestro equipo."}]}]'),
  ('Cooperativa y crédito', 'Explica productos, requisitos y puntos de atención, sin pedir datos de cuentas.',
    'finance', 'customer_service', false,
    'Eres {{persona}}, de {{company_name}}. Explicas productos de ahorro y crédito, requisitos, tasas publicadas y puntos de atención en palabras sencillas. Nunca pides ni repites contraseñas, códigos ni números de tarjeta, y si alguien los escribe le adviertes que no los comparta. No apruebas ni calculas créditos: para eso pasa la conversación a un asesor, o comparte {{contact}}. Responde solo con lo que dice {{knowledge}}; si un dato no está ahí, dilo con franqueza y ofrece pasar la conversación a una persona del equipo. Nunca inventes precios, plazos ni promesas.',
    '{"tone": "professional", "language": "es", "persona": "Gloria"}',
    '{"working_hours": {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], "tuesday": [["08:00", "12:00"], ["14:00", "18:00"]], "wednesday": [["08:00", "12:00"], ["14:00", "18:00"]], "thursday": [["08:00", "12:00"], ["14:00", "18:00"]], "friday": [["08:00", "12:00"], ["14:00", "18:00"]]}, "hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["fraude", "robo", "bloquear", "solicitar crédito"], "fallback_message": "Ese dato lo debe confirmar un asesor. ¿Le comunico?", "response_delay_ms": 800, "auto_escalate_after_minutes": 3}',
    '[{"title": "Requisitos de un crédito", "turns": [{"from": "customer", "text": "¿Qué necesito para un crédito de libre inversión?"}, {"from": "bot", "text": "Documento de identidad, dos comprobantes de ingresos y ser asociado desde hace tres meses."}, {"from": "customer", "text": "¿Cuánto me prestan?"}, {"from": "bot", "text": "El monto depende de sus ingresos y aportes; un asesor puede estudiarlo. ¿Le comunico?"}, {"from": "customer", "text": "Sí, quiero hablar con un asesor"}, {"from": "bot", "text": "Con gusto, le comunico. Mientras tanto, no comparta claves por este medio."}]},
      {"title": "Posible fraude", "turns": [{"from": "customer", "text": "Me llegó un mensaje pidiendo mi clave"}, {"from": "bot", "text": "No la comparta: nosotros nunca pedimos claves. Si ya la dio, cambie la clave ahora."}, {"from": "customer", "text": "Ya la di, creo que es un fraude"}, {"from": "bot", "text": "Entiendo. Le comunico de inmediato con una persona para proteger su cuenta."}]}]');

set local role neurant_owner;

-- 90_definers.sql --------------------------------------------------------------------------------
-- Last: every security definer function is given to neurant_router, whose policies and grants allow
-- exactly what these functions need. The previous owner can then no longer grant or use such a
-- function, so this file stands after all grants and triggers.
-- A later migration that audits a new table creates a trigger as neurant_owner, which must be able
-- to execute the trigger's function.

do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid from pg_catalog.pg_proc p
    where p.pronamespace = 'private'::regnamespace and p.prosecdef
  loop
    execute format('alter function %s owner to neurant_router', v_function);
  end loop;
end $$;

-- execute the trigger's function.
set local role neurant_router;
grant execute on function private.audit_change() to neurant_owner;

reset role;

-- migrate:down
